// Package cli is what the programs have in common towards whoever calls them: their process
// ([Main], [Within]), help with examples ([Parse]), exit codes ([Exit], [Usage]), what happens
// as text or JSON ([Teller]), and a line that says what a program waits for ([Wait], [Watch]).
// docs/programs.md is the table for users.
package cli
