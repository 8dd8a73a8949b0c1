//go:build race

package feed_test

// slowdown is by how much the race detector makes everything slower.
const slowdown = 20
