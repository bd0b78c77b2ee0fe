// Package peerbench measures the module beside others that do the same, in the same
// run and the same harness: on two machines, or on one at two times, a figure says
// little, a ratio says much. See the BENCHMARKS.md of turnclient and ice for what came of it.
package peerbench
