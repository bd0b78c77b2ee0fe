// Package interop holds the tests that need what the module itself must not
// depend on: here, the kernel's own NATs (package kernellab), behind which the
// programs of examples are run as they are, and other people's tools beside them.
// In icepion and icechromium, our ICE agent meets those of others.
package interop
