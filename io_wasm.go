package bradawl

// A session opens UDP sockets, and neither a browser nor WASI has any. The standard library
// compiles for them all the same, with sockets that lead nowhere, so that a program would
// fail when it runs; this makes the compiler say it.
var _ = bradawl_needs_UDP_sockets_which_wasm_does_not_have
