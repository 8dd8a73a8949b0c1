//go:build !race

package feed_test

const slowdown = 1
