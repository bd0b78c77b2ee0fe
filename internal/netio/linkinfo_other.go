//go:build !linux

package netio

// systemDescriber returns what adds the system's knowledge to a LinkInfo: nothing here.
func systemDescriber() func(l *LinkInfo, index int) { return func(*LinkInfo, int) {} }
