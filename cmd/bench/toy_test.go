package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// toyEngine is the smallest engine that speaks the worker protocol: it copies
// the input topic to the output topic. It uses nothing of ours, as a program in
// another language would.
func toyEngine() int {
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<20)
	in.Scan()
	var job struct {
		Kafka struct {
			Brokers []string
			Input   struct{ Names []string }
			Output  string
		}
	}
	if err := json.Unmarshal(in.Bytes(), &job); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	client, err := kgo.NewClient(
		kgo.SeedBrokers(job.Kafka.Brokers...), kgo.ConsumeTopics(job.Kafka.Input.Names...),
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()), kgo.DefaultProduceTopic(job.Kafka.Output),
		kgo.FetchMaxWait(50*time.Millisecond),
	)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			client.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
				client.Produce(context.Background(), &kgo.Record{Key: r.Key, Value: r.Value, Headers: r.Headers}, nil)
			})
		}
	}()
	fmt.Println(`{"event":"started","attempt":1}`)
	for in.Scan() {
		var c struct {
			ID   int64           `json:"id"`
			Stop json.RawMessage `json:"stop"`
		}
		if json.Unmarshal(in.Bytes(), &c) != nil {
			continue
		}
		if c.Stop != nil {
			cancel()
			<-done
			client.Flush(context.Background())
			fmt.Printf(`{"event":"answer","id":%d}`+"\n", c.ID)
			return 0
		}
		fmt.Printf(`{"event":"answer","id":%d}`+"\n", c.ID)
	}
	return 0
}
