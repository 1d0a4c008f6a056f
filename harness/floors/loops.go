package floors

import (
	"encoding/binary"
	"fmt"
	"time"
)

// Sizes of one attempt: about a fifth of a second each on a slow core.
const (
	exchangeRecords = 2_000_000
	decodeRecords   = 4_000_000
)

const (
	bufferSize  = 32 << 10
	bufferCount = 16
)

// exchangeLoop passes records from one goroutine to another: a length and the
// bytes into a 32 KiB buffer, the buffer through a channel, the record read out
// again on the other side, the buffer back through another channel.
func exchangeLoop(records int64, size int) sample {
	full, empty := make(chan []byte, bufferCount), make(chan []byte, bufferCount)
	for range bufferCount {
		empty <- make([]byte, 0, max(bufferSize, size+2))
	}
	payload := make([]byte, size)
	began, cpu := time.Now(), cpuTime()
	go func() {
		b := <-empty
		for i := range records {
			if len(b)+2+size > cap(b) {
				full <- b
				b = (<-empty)[:0]
			}
			b = binary.LittleEndian.AppendUint16(b, uint16(size))
			if size >= 8 {
				binary.LittleEndian.PutUint64(payload, uint64(i))
			}
			b = append(b, payload...)
		}
		full <- b
		close(full)
	}()
	var got int64
	var sum uint64
	for b := range full {
		for rest := b; len(rest) > 0; got++ {
			n := int(binary.LittleEndian.Uint16(rest))
			r := rest[2 : 2+n]
			if n >= 8 {
				sum += binary.LittleEndian.Uint64(r)
			}
			rest = rest[2+n:]
		}
		empty <- b
	}
	s := sample{records: got, wall: time.Since(began), cpu: cpuTime() - cpu}
	if size >= 8 && sum != uint64(records)*uint64(records-1)/2 {
		panic("floors: the exchange loop lost records")
	}
	return s
}

// decodeLoop reads the four numbers of a 100-byte text record, as the ledger's
// own workload has them: partition, sequence, schedule, key.
func decodeLoop(records int64) sample {
	const variants = 1024 // more than a branch predictor learns by heart
	var lines [variants][]byte
	var want int64
	for i := range lines {
		lines[i] = fmt.Appendf(nil, "%05d,%012d,%019d,%07d,", i%8, i*977, int64(1e15)+int64(i)*7919, i*31%1000)
		for len(lines[i]) < 100 {
			lines[i] = append(lines[i], 'x')
		}
		want += int64(i%8) + int64(i*977) + int64(1e15) + int64(i)*7919 + int64(i*31%1000)
	}
	began, cpu := time.Now(), cpuTime()
	var sum int64
	for i := range records {
		line := lines[i%variants]
		for range 4 {
			var v int64
			k := 0
			for line[k] != ',' {
				v = v*10 + int64(line[k]-'0')
				k++
			}
			sum += v
			line = line[k+1:]
		}
	}
	s := sample{records: records, wall: time.Since(began), cpu: cpuTime() - cpu}
	if records%variants == 0 && sum != want*(records/variants) {
		panic("floors: the decoding loop read wrong numbers")
	}
	return s
}
