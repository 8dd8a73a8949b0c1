module example.com/curfew/internal/interop/containers

go 1.26.8

require (
	example.com/curfew v0.0.0-00010101000000-000000000000
	golang.org/x/sys v0.49.0
)

replace example.com/curfew => ../../..
