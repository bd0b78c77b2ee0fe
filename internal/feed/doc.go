// Package feed hands what happens to whoever wants to know of it, and waits for nobody: a
// [Feed] is the queue behind a Next or Events of the public packages.
package feed
