// Package interop tries Curfew with software that was written elsewhere: reverse
// proxies and JWT libraries. Its tests have the build tag interop, since they need
// that software: `make interop` installs it. The configurations in testdata are
// those that the documentation shows.
package interop
