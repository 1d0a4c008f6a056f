package scenarios

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
)

// SetSchemaV1 is the version of a set file: a list of scenarios that are run
// together, each with what it changes.
const SetSchemaV1 = "streamduel/set/v1"

//go:embed builtin/*.yaml
var builtinFiles embed.FS

const setSuffix = ".set"

// BuiltinScenarios lists the names of the built-in scenarios.
func BuiltinScenarios() []string { return builtins(false) }

// BuiltinSets lists the names of the built-in sets.
func BuiltinSets() []string { return builtins(true) }

func builtins(sets bool) []string {
	entries, err := builtinFiles.ReadDir("builtin")
	if err != nil {
		panic("scenarios: the embedded folder is missing: " + err.Error())
	}
	var out []string
	for _, e := range entries {
		name := strings.TrimSuffix(e.Name(), ".yaml")
		if base, isSet := strings.CutSuffix(name, setSuffix); isSet == sets {
			out = append(out, base)
		}
	}
	return out
}

// BuiltinSource gives the text of a built-in scenario or set.
func BuiltinSource(name string) ([]byte, bool) {
	for _, suffix := range []string{".yaml", setSuffix + ".yaml"} {
		if src, err := builtinFiles.ReadFile("builtin/" + name + suffix); err == nil {
			return src, true
		}
	}
	return nil, false
}

// Collection is what the arguments of one run name.
type Collection struct {
	// Name of the folder that holds the runs: the scenario's or the set's,
	// or "run" where several unrelated ones were named.
	Name     string
	Question string
	Files    []*File
}

// Resolve loads what the arguments of `run` or `validate` name: built-in
// scenarios and sets by name, files, and folders with their *.yaml files. All
// problems of all files are returned together as [Problems].
func Resolve(args []string, opts Options) (*Collection, error) {
	c := &Collection{}
	var problems Problems
	var names []string
	for _, arg := range args {
		part, err := resolveOne(arg, opts)
		var ps Problems
		switch {
		case errors.As(err, &ps):
			problems = append(problems, ps...)
		case err != nil:
			return nil, err
		default:
			c.Files = append(c.Files, part.Files...)
			names = append(names, part.Name)
			c.Question = part.Question
		}
	}
	if len(problems) > 0 {
		return nil, problems
	}
	c.Name = "run"
	if len(names) == 1 {
		c.Name = names[0]
	} else {
		c.Question = ""
	}
	return c, nil
}

func resolveOne(arg string, opts Options) (*Collection, error) {
	if src, ok := BuiltinSource(arg); ok {
		return fromSource("builtin:"+arg, "", src, opts)
	}
	info, err := os.Stat(arg)
	if err == nil && info.IsDir() {
		return resolveFolder(arg, opts)
	}
	if errors.Is(err, fs.ErrNotExist) && !strings.ContainsAny(arg, `/\`) && filepath.Ext(arg) == "" {
		known := append(BuiltinSets(), BuiltinScenarios()...)
		return nil, Problems{{File: arg, Allowed: "no such file or folder, and not a built-in name: " + oneOf(arg, known)}}
	}
	src, err := readFile(arg)
	if err != nil {
		return nil, err
	}
	return fromSource(arg, filepath.Dir(arg), src, opts)
}

func resolveFolder(dir string, opts Options) (*Collection, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, Problems{{File: dir, Allowed: "cannot be read: " + err.Error()}}
	}
	var paths []string
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); !e.IsDir() && (ext == ".yaml" || ext == ".yml") {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	if len(paths) == 0 {
		return nil, Problems{{File: dir, Allowed: "a folder without a .yaml or .yml file"}}
	}
	c, err := Resolve(paths, opts)
	if err != nil {
		return nil, err
	}
	if abs, err := filepath.Abs(dir); err == nil && safeName(filepath.Base(abs)) {
		c.Name = filepath.Base(abs)
	}
	return c, nil
}

// fromSource tells sets from scenarios by their schema line.
func fromSource(name, dir string, src []byte, opts Options) (*Collection, error) {
	root, problems := parseTree(name, src)
	if problems == nil {
		if f, ok := root.get("schema"); ok && f.value.text == SetSchemaV1 {
			return loadSet(name, dir, root, opts)
		}
	}
	f, err := Parse(name, dir, src, opts)
	if err != nil {
		return nil, err
	}
	return &Collection{Name: f.Name, Question: f.Question, Files: []*File{f}}, nil
}

// setFile is a file of schema streamduel/set/v1.
type setFile struct {
	Schema    string    `json:"schema"`
	Name      string    `json:"name"`
	Question  string    `json:"question"`
	Scenarios []setItem `json:"scenarios"`
}

type setItem struct {
	// Scenario is a built-in name, or a file relative to the set's folder.
	Scenario string `json:"scenario"`
	// Guarantees replace those of the scenario, if given.
	Guarantees []Guarantee `json:"guarantees,omitempty"`
	// Set holds overrides, as --set does; those of the command line come after.
	Set map[string]*node `json:"set,omitempty"`
}

func loadSet(name, dir string, root *node, opts Options) (*Collection, error) {
	d := newDecoder(name, opts.Vocabulary)
	var set setFile
	d.decode(root, reflect.ValueOf(&set).Elem(), "")
	if d.require("name", nameRule) && !safeName(set.Name) {
		d.complain("name", nameRule)
	}
	if d.require("scenarios", "a list such as [{ scenario: steady }]") && len(set.Scenarios) == 0 {
		d.complain("scenarios", "at least one { scenario: name }")
	}
	var problems Problems
	c := &Collection{Name: set.Name, Question: set.Question}
	for i, item := range set.Scenarios {
		path := fmt.Sprintf("scenarios[%d]", i)
		if !d.require(path+".scenario", oneOf("", BuiltinScenarios())) {
			continue
		}
		if _, ok := BuiltinSource(item.Scenario); !ok && filepath.Ext(item.Scenario) == "" {
			d.complain(path+".scenario", "a .yaml file beside this one, or a built-in scenario: "+oneOf(item.Scenario, BuiltinScenarios()))
			continue
		}
		file, err := item.load(dir, name+": "+path+".set", opts)
		var ps Problems
		switch {
		case errors.As(err, &ps):
			problems = append(problems, ps...)
		case err != nil:
			return nil, err
		default:
			c.Files = append(c.Files, file)
		}
	}
	if problems = append(d.problems.sorted(), problems...); len(problems) > 0 {
		return nil, problems
	}
	return c, nil
}

func (item setItem) load(dir, from string, opts Options) (*File, error) {
	var own []Override
	if len(item.Guarantees) > 0 {
		own = append(own, Override{Path: "guarantees", Value: "[" + joinAny(item.Guarantees) + "]", From: from + " guarantees=[" + joinAny(item.Guarantees) + "]"})
	}
	for _, path := range slices.Sorted(maps.Keys(item.Set)) {
		own = append(own, Override{Path: path, Value: item.Set[path].shown(), From: from + " " + path + "=" + item.Set[path].shown(), node: item.Set[path]})
	}
	opts.Overrides = append(own, opts.Overrides...)
	if src, ok := BuiltinSource(item.Scenario); ok {
		return Parse("builtin:"+item.Scenario, "", src, opts)
	}
	return LoadFile(resolve(dir, item.Scenario), opts)
}
