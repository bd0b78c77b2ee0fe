//go:build !race

package turnclient_test

const raceEnabled = false
