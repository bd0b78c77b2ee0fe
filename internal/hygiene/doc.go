// Package hygiene holds the house rules that a program can check, and checks
// them: "go test ./internal/hygiene" reads every file of the repository, in the
// main module and in the nested ones, for every platform.
//
// Each rule is a small function from source to findings, with a test that feeds
// it a breach. A finding names the file and line, the rule, and what to do.
//
// The rules:
//
//   - street: imports go downhill only ([street] is the table);
//   - depends: a guarded dependency stays in its room ([guards]), and what the
//     root package links is light ([rootMayLink]);
//   - core: a protocol's core has no socket, clock, lock, goroutine or global
//     randomness ([corePackages]);
//   - documented: every exported name, every field of a Config and every package
//     has a comment, every public package an example that runs, and every program
//     shows how it is called;
//   - API: docs/api.txt says what the public API is ("-run API -update" rewrites it);
//   - formatted, short files, no unfinished work, no sleeping tests, no path of
//     somebody's machine;
//   - documents: the README's commands are CI's, every dependency has its reason
//     in ARCHITECTURE.md, and go.work lists every module;
//   - snippets: the Go in the cookbook, and the README's functions, are those of programs
//     which are tested ("-run Snippets -update" rewrites them);
//   - commands: the packages and tests that commands of Go's in documents name are there;
//   - links: what documents link to within the repository is there;
//   - pictures: SVG files of docs have a title, a description and colours for the dark, and
//     load and run nothing;
//   - translation: README.zh-CN.md has the commands, code, figures and links of README.md.
package hygiene
