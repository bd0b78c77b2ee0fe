//go:build !race

package drive_test

// raceEnabled is true where sync.Pool drops buffers at random.
const raceEnabled = false
