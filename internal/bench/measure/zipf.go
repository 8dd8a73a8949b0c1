package measure

import (
	"math"
	"math/rand/v2"
	"sort"
)

// Zipf returns count draws from 0…n-1, where k has the weight 1/(k+1)^s: how
// often requests come for the most and the least active of n users. Unlike
// math/rand's it takes exponents below one. The ranks are spread over the
// numbers, so that neighbours in memory are not neighbours in popularity.
func Zipf(n, count int, s float64, seed uint64) []int32 {
	random := rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15))
	cumulative := make([]float64, n)
	total := 0.0
	for k := range n {
		total += math.Pow(float64(k+1), -s)
		cumulative[k] = total
	}
	place := random.Perm(n)
	draws := make([]int32, count)
	for i := range draws {
		rank := sort.SearchFloat64s(cumulative, random.Float64()*total)
		draws[i] = int32(place[min(rank, n-1)])
	}
	return draws
}
