// Package ice finds the paths between two hosts by Interactive Connectivity
// Establishment (RFC 8445), and keeps the best of them.
package ice
