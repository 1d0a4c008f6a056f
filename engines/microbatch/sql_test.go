package microbatch

import (
	stdsql "database/sql"
	"fmt"
	"path/filepath"
	"testing"

	_ "modernc.org/sqlite" // the driver of this test

	"streamduel/connectors"
	"streamduel/connectors/sql"
	"streamduel/pipeline"
)

// TestSQL is exactly-once into a database, by each way that has transactions: the
// outcome is what is in the table after a crash and a restart.
func TestSQL(t *testing.T) {
	for _, way := range []Way{BatchTransaction, OffsetRange, OutputPartition} {
		for _, point := range []string{"M2", "T1", "T2", "M3"} {
			t.Run(fmt.Sprint(way, "/", point), func(t *testing.T) {
				db, err := stdsql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "test.db")+"?_txlock=immediate&_pragma=busy_timeout(20000)&_pragma=synchronous(OFF)")
				if err != nil {
					t.Fatal(err)
				}
				defer db.Close()
				if _, err := db.Exec(`CREATE TABLE counts (part INTEGER, sequence INTEGER, k INTEGER, n INTEGER)`); err != nil {
					t.Fatal(err)
				}
				b := newBed(t, 3, connectors.ExactlyOnce)
				b.config.ExactlyOnce = way
				b.parallel = 3
				b.graph = func() *pipeline.Graph {
					out, err := sql.NewSink(sql.Config{DB: db, Insert: `INSERT INTO counts (part, sequence, k, n) VALUES (?, ?, ?, ?)`,
						Args: func(r *connectors.Record, _ *connectors.Origin) ([]any, error) {
							e, err := eventOf(r.Value)
							return []any{e.partition, e.sequence, e.key, e.time}, err
						}})
					if err != nil {
						t.Fatal(err)
					}
					if way == OffsetRange {
						return mapGraph(b.topic, out)
					}
					return countGraph(b.topic, out)
				}
				crashAt(t, b, point, 3)
				rows, err := db.Query(`SELECT part, sequence, k, n FROM counts`)
				if err != nil {
					t.Fatal(err)
				}
				defer rows.Close()
				for rows.Next() {
					var r row
					if err := rows.Scan(&r.partition, &r.sequence, &r.key, &r.value); err != nil {
						t.Fatal(err)
					}
					b.store.visible = append(b.store.visible, r)
				}
				if err := rows.Err(); err != nil {
					t.Fatal(err)
				}
				b.whole()
			})
		}
	}
}
