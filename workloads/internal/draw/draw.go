// Package draw makes the random choices of generators. A choice is a pure
// function of the seed and the record's number, so that a record can be made
// again without making those before it.
package draw

import (
	"math"
	"math/bits"
)

const gamma = 0x9e3779b97f4a7c15

// Hash is the n-th value of a stream of 64-bit values: splitmix64 (Steele, Lea,
// Flood, 2014), entered at any place.
func Hash(seed uint64, n int64) uint64 { return Mix(seed + uint64(n)*gamma) }

// Mix is splitmix64's finalizer: it makes further values out of one.
func Mix(z uint64) uint64 {
	z += gamma
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// Below maps a random value to 0 … n−1, n at least 1. The bias is n/2⁶⁴.
func Below(random uint64, n int) int {
	hi, _ := bits.Mul64(random, uint64(n))
	return int(hi)
}

// Unit maps a random value to [0, 1).
func Unit(random uint64) float64 { return float64(random>>11) / (1 << 53) }

// Zipf draws 0 … n−1 with probabilities proportional to 1/(i+1)^s, in constant
// time by Vose's alias method.
type Zipf struct {
	n         int
	threshold []uint32
	alias     []int32
}

// NewZipf makes the tables; s = 0 is the uniform distribution and needs none.
func NewZipf(n int, s float64) *Zipf {
	z := &Zipf{n: n}
	if s == 0 {
		return z
	}
	weight := make([]float64, n)
	var sum float64
	for i := range weight {
		weight[i] = math.Pow(float64(i+1), -s)
		sum += weight[i]
	}
	z.threshold, z.alias = make([]uint32, n), make([]int32, n)
	var small, large []int32
	for i := range weight {
		weight[i] *= float64(n) / sum
		if weight[i] < 1 {
			small = append(small, int32(i))
		} else {
			large = append(large, int32(i))
		}
	}
	for len(small) > 0 && len(large) > 0 {
		a, b := small[len(small)-1], large[len(large)-1]
		small = small[:len(small)-1]
		z.threshold[a], z.alias[a] = uint32(weight[a]*math.MaxUint32), b
		if weight[b] -= 1 - weight[a]; weight[b] < 1 {
			large = large[:len(large)-1]
			small = append(small, b)
		}
	}
	for _, rest := range [][]int32{small, large} { // full but for rounding
		for _, i := range rest {
			z.threshold[i], z.alias[i] = math.MaxUint32, i
		}
	}
	return z
}

// At returns the number that a random value stands for.
func (z *Zipf) At(random uint64) int {
	i := Below(random, z.n)
	if z.alias == nil || uint32(Mix(random)) <= z.threshold[i] {
		return i
	}
	return int(z.alias[i])
}
