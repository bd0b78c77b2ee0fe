// Package simworld is what examples share that show sessions in a simulated internet: one
// with all that two sessions need, and these behind NATs of their own.
package simworld
