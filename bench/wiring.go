package bench

import "streamduel/engines"

// What the command is built with. The variables are set by the files beside
// this one that import the harness, the engines, the report and the child
// processes; a test replaces the whole of it by its own parts.
var (
	builtinEngines []engines.Engine
	harnessRunner  Runner
	reporter       Reporter = pages{}
	children                = map[string]Child{}
)

func wired() parts {
	return parts{engines: builtinEngines, run: harnessRunner, report: reporter, children: children}
}
