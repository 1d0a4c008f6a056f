package state

import (
	"fmt"
	"math/bits"
	"unicode/utf8"
	"unsafe"
)

// Key groups are the unit in which keyed state is moved: a key belongs to one
// for good, a subtask owns a contiguous range of them. The formulas are
// Flink's (KeyGroupRangeAssignment and MathUtils.murmurHash, Flink 2.0): group =
// murmur(hash(key)) mod max, owner = group·parallelism/max. Known answers are in
// testdata.

// KeyGroup numbers a key group.
type KeyGroup uint16

// GroupRange is a range of key groups, both ends included.
type GroupRange struct{ First, Last KeyGroup }

// Contains reports whether g lies in the range.
func (r GroupRange) Contains(g KeyGroup) bool { return g >= r.First && g <= r.Last }

// Intersect returns the common part of two ranges; ok is false when there is
// none.
func (r GroupRange) Intersect(o GroupRange) (common GroupRange, ok bool) {
	common = GroupRange{max(r.First, o.First), min(r.Last, o.Last)}
	return common, common.First <= common.Last
}

// MaxParallelismLimit is the largest number of key groups a job can have.
const MaxParallelismLimit = 1 << 15

// DefaultMaxParallelism is the number of key groups of a job that does not set
// one: one and a half times the parallelism, rounded up to a power of two,
// between 128 and 32768.
func DefaultMaxParallelism(parallelism int) int {
	n := parallelism + parallelism/2
	p := 1 << bits.Len(uint(max(n-1, 0)))
	return min(max(p, 128), MaxParallelismLimit)
}

// GroupOf returns the key group of a key's hash.
func GroupOf(hash uint32, maxParallelism int) KeyGroup {
	return KeyGroup(Murmur(hash) % uint32(maxParallelism))
}

// Owner returns the function that says which of so many subtasks owns a key, for
// use in a loop. encode is as with Hasher.
func Owner[K comparable](encode func(dst []byte, k K) []byte, parallelism, maxParallelism int) (func(K) int, error) {
	hash, err := Hasher(encode)
	if err != nil {
		return nil, err
	}
	owners := make([]int32, maxParallelism)
	for g := range owners {
		owners[g] = int32(OwnerOf(KeyGroup(g), parallelism, maxParallelism))
	}
	if n := uint32(len(owners)); n&(n-1) != 0 {
		return func(k K) int { return int(owners[Murmur(hash(k))%uint32(len(owners))]) }, nil
	}
	// The default is a power of two, which needs no division.
	if words[K]() {
		return func(k K) int {
			v := *(*uint64)(unsafe.Pointer(&k))
			return int(owners[Murmur(uint32(v^v>>32))&uint32(len(owners)-1)])
		}, nil
	}
	return func(k K) int { return int(owners[Murmur(hash(k))&uint32(len(owners)-1)]) }, nil
}

// words reports whether keys are integers of 64 bits.
func words[K comparable]() bool {
	var zero K
	switch any(zero).(type) {
	case int64, uint64, int, uint:
		return unsafe.Sizeof(zero) == 8
	}
	return false
}

// OwnerOf returns the subtask that owns a key group.
func OwnerOf(g KeyGroup, parallelism, maxParallelism int) int {
	return int(g) * parallelism / maxParallelism
}

// RangeOf returns the key groups that subtask index of parallelism owns.
func RangeOf(index, parallelism, maxParallelism int) GroupRange {
	first := (index*maxParallelism + parallelism - 1) / parallelism
	last := ((index+1)*maxParallelism - 1) / parallelism
	return GroupRange{KeyGroup(first), KeyGroup(last)}
}

// Murmur is the finishing hash over a 32-bit key hash: MurmurHash3 x86_32
// (Appleby) of its four bytes with seed 0, made non-negative as Flink does.
func Murmur(code uint32) uint32 {
	code *= 0xcc9e2d51
	code = bits.RotateLeft32(code, 15)
	code *= 0x1b873593
	code = bits.RotateLeft32(code, 13)
	code = code*5 + 0xe6546b64
	code ^= 4
	code ^= code >> 16
	code *= 0x85ebca6b
	code ^= code >> 13
	code *= 0xc2b2ae35
	code ^= code >> 16
	switch s := int32(code); {
	case s >= 0:
		return code
	case s != -1<<31:
		return uint32(-s)
	default:
		return 0
	}
}

// Hasher returns the hash function of a key type, which gives what Java's
// hashCode gives for the corresponding type: so that a key lives in the same
// group as in Flink. Integers, strings, booleans and arrays of bytes are known;
// for other types encode must be given, and the hash is taken over the encoding.
func Hasher[K comparable](encode func(dst []byte, k K) []byte) (func(K) uint32, error) {
	var zero K
	switch any(zero).(type) {
	case int64, uint64, int, uint:
		return func(k K) uint32 { v := *(*uint64)(unsafe.Pointer(&k)); return uint32(v ^ v>>32) }, nil
	case int32, uint32:
		return func(k K) uint32 { return *(*uint32)(unsafe.Pointer(&k)) }, nil
	case int16:
		return func(k K) uint32 { return uint32(int32(*(*int16)(unsafe.Pointer(&k)))) }, nil
	case uint16:
		return func(k K) uint32 { return uint32(*(*uint16)(unsafe.Pointer(&k))) }, nil
	case uint8:
		return func(k K) uint32 { return uint32(*(*uint8)(unsafe.Pointer(&k))) }, nil
	case bool:
		return func(k K) uint32 {
			if *(*bool)(unsafe.Pointer(&k)) {
				return 1231
			}
			return 1237
		}, nil
	case string:
		return func(k K) uint32 { return StringHash(*(*string)(unsafe.Pointer(&k))) }, nil
	}
	if encode == nil {
		return nil, fmt.Errorf("key type %T has no hash: give the key a codec", zero)
	}
	var scratch []byte
	return func(k K) uint32 {
		scratch = encode(scratch[:0], k)
		return BytesHash(scratch)
	}, nil
}

// StringHash is Java's String.hashCode: Σ c·31^(n−1−i) over UTF-16 units.
func StringHash(s string) uint32 {
	var h uint32
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= utf8.RuneSelf {
			return wideHash(h, s[i:])
		}
		h = h*31 + uint32(c)
	}
	return h
}

func wideHash(h uint32, s string) uint32 {
	for _, r := range s {
		if r > 0xffff {
			r -= 0x10000
			h = h*31 + 0xd800 + uint32(r>>10)
			h = h*31 + 0xdc00 + uint32(r&0x3ff)
			continue
		}
		h = h*31 + uint32(r)
	}
	return h
}

// BytesHash is Java's Arrays.hashCode over signed bytes.
func BytesHash(b []byte) uint32 {
	h := uint32(1)
	for _, c := range b {
		h = h*31 + uint32(int32(int8(c)))
	}
	return h
}
