// Package talk is what examples/peer and examples/twopeer share: the life of a small
// program that meets another one in a room, punches a hole to it, and talks to it.
// Start at Run. Demos print by its Printer.
package talk
