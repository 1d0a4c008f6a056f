package pipelinetest_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"streamduel/engines"
	"streamduel/engines/dataflow"
	"streamduel/engines/microbatch"
	"streamduel/pipeline"
	"streamduel/pipeline/pipelinetest"
	"streamduel/state"
	"streamduel/state/lsm"
)

// countedBackend counts the keys that its stores are asked for, one by one and
// together.
type countedBackend struct {
	state.Backend
	single, together *atomic.Int64
}

func (b countedBackend) Open(c state.SetConfig) (state.Store, error) {
	s, err := b.Backend.Open(c)
	return countedStore{s, b}, err
}

type countedStore struct {
	state.Store
	backend countedBackend
}

func (s countedStore) Get(key []byte) ([]byte, bool, error) {
	s.backend.single.Add(1)
	return s.Store.Get(key)
}

func (s countedStore) GetAll(keys [][]byte, f func(i int, value []byte, ok bool)) error {
	s.backend.together.Add(int64(len(keys)))
	return s.Store.GetAll(keys, f)
}

// TestKeysOfABufferAreReadTogether: both engines hand an operator whose state lies
// on disk records by the buffer, and what these ask for is read together.
func TestKeysOfABufferAreReadTogether(t *testing.T) {
	const keys = 64
	in := pipelinetest.NewInput[row]("in")
	var rows []row
	var want []string
	for i := range int64(keys) {
		rows = append(rows, row{fmt.Sprint("k", i), i, ""})
		want = append(want, fmt.Sprintf("k%d:%d", i, i))
	}
	c := pipelinetest.Case{
		Name: "together", Steps: steps{in.At(1, rows...)}, Want: map[string]string{"out": strings.Join(want, " ")},
		Build: func(g *pipeline.Graph) {
			text(pipeline.Map(pipeline.Reduce(byKey(in, g), "sum", func(acc, _ row) row { return acc }), "text", func(r row) string {
				return fmt.Sprintf("%s:%d", r.key, r.n)
			}))
		},
	}
	for _, e := range []engines.Engine{dataflow.New(), microbatch.New()} {
		var single, together atomic.Int64
		files := lsm.InMemory(64 << 20)
		w := onEngine{engine: e, parallelism: 1, backend: func(env state.BackendEnv) (state.Backend, error) {
			b, err := files(env)
			return countedBackend{b, &single, &together}, err
		}}
		dir := filepath.Join(t.TempDir(), e.Name())
		synctest.Test(t, func(t *testing.T) {
			if err := w.check(t, c, dir); err != nil {
				t.Error(err)
			}
		})
		if together.Load() != keys || single.Load() != 0 {
			t.Errorf("%s: %d keys were read together, %d one by one", e.Name(), together.Load(), single.Load())
		}
	}
}
