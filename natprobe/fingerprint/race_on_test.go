//go:build race

package fingerprint

// raceEnabled: the tests run under the race detector.
const raceEnabled = true
