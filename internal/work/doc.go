// Package work bounds what must block: a [Pool] runs it on few goroutines, and a [Breaker]
// keeps it from targets that keep failing.
package work
