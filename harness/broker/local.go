package broker

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"streamduel/harness/proc"
)

// KafkaVersion is the release that Local runs.
const KafkaVersion = "4.3.1"

// pom names what Maven has to fetch. log4j-slf4j-impl is the binding for
// slf4j 1.7, which this Kafka uses; without one nothing is logged, the line
// that tells of readiness included.
const pom = `<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>local</groupId><artifactId>kafka-run</artifactId><version>1</version><packaging>pom</packaging>
<dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>` + KafkaVersion + `</version></dependency>
<dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.25.4</version></dependency>
</dependencies></project>
`

const log4j = `rootLogger.level=warn
rootLogger.appenderRef.c.ref=C
appender.c.type=Console
appender.c.name=C
appender.c.layout.type=PatternLayout
appender.c.layout.pattern=[%d] %p %m (%c)%n
logger.k.name=kafka
logger.k.level=info
`

func serverProperties(port, controller int, data string) string {
	return fmt.Sprintf(`process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:%[2]d
listeners=PLAINTEXT://127.0.0.1:%[1]d,CONTROLLER://127.0.0.1:%[2]d
advertised.listeners=PLAINTEXT://127.0.0.1:%[1]d
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs=%[3]s
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
min.insync.replicas=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
log.initial.task.delay.ms=1000
log.retention.check.interval.ms=1000
`, port, controller, data)
}

func (b *Broker) startLocal(ctx context.Context, o Options) error {
	java, err := findJava(ctx)
	if err != nil {
		return err
	}
	cache := o.CacheDir
	if cache == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return fmt.Errorf("broker: no cache folder for Kafka's jars: %w", err)
		}
		cache = filepath.Join(user, "streamduel")
	}
	lib, err := fetchJars(ctx, filepath.Join(cache, "kafka-"+KafkaVersion))
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(o.Dir, "kafka-")
	if err != nil {
		return fmt.Errorf("broker: no folder for Kafka's data: %w", err)
	}
	b.stop = func() error {
		if b.child != nil {
			// Nothing in its folder is needed again, so there is nothing to
			// shut down in order.
			b.child.Kill()
			<-b.child.Done()
		}
		return os.RemoveAll(dir)
	}
	ports, err := freePorts(o.Port)
	if err != nil {
		return err
	}
	for name, text := range map[string]string{
		"server.properties": serverProperties(ports[0], ports[1], filepath.Join(dir, "data")),
		"log4j2.properties": log4j,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return fmt.Errorf("broker: %w", err)
		}
	}
	jvm := []string{"-Dlog4j2.configurationFile=log4j2.properties", "-cp", filepath.Join(lib, "*")}
	format := exec.CommandContext(ctx, java, append([]string{"-XX:TieredStopAtLevel=1"}, append(jvm,
		"kafka.tools.StorageTool", "format", "-t", clusterID(), "-c", "server.properties")...)...)
	format.Dir = dir
	if out, err := format.CombinedOutput(); err != nil {
		return fmt.Errorf("broker: Kafka's data folder cannot be formatted: %w: %s", err, lastLine(out))
	}
	started := make(chan struct{}, 1)
	b.child, err = proc.Start(proc.Spec{
		Name: "kafka", Path: java, Dir: dir, Stderr: o.Log,
		Args: append(append([]string{"-Xms256m", "-Xmx1g"}, jvm...), "kafka.Kafka", "server.properties"),
		OnLine: func(l proc.Line) {
			if o.Log != nil {
				fmt.Fprintf(o.Log, "%s\n", l.Raw)
			}
			if bytes.Contains(l.Raw, []byte("Kafka Server started")) {
				select {
				case started <- struct{}{}:
				default:
				}
			}
		},
	})
	if err != nil {
		return err
	}
	b.addresses = []string{net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[0]))}
	b.version = "Kafka " + KafkaVersion
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	select {
	case <-started:
		return nil
	case <-b.child.Done():
		return fmt.Errorf("broker: Kafka ended before it was ready: %s", orElse(b.child.Complaint(), "see its log"))
	case <-ctx.Done():
		return fmt.Errorf("broker: Kafka is not ready: %w", ctx.Err())
	}
}

var javaVersion = regexp.MustCompile(`version "(\d+)`)

// findJava returns the path of a Java that Kafka 4 runs on.
func findJava(ctx context.Context) (string, error) {
	path, err := exec.LookPath("java")
	if err != nil {
		return "", errors.New("broker: a local Kafka needs Java 17 or newer, and no java is on the PATH (Debian: apt install openjdk-17-jre-headless)")
	}
	out, err := exec.CommandContext(ctx, path, "-version").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("broker: %s -version: %w", path, err)
	}
	m := javaVersion.FindSubmatch(out)
	if m == nil {
		return path, nil // an unusual vendor: Kafka itself will say
	}
	if v, _ := strconv.Atoi(string(m[1])); v < 17 {
		return "", fmt.Errorf("broker: a local Kafka needs Java 17 or newer, and %s is version %d (Debian: apt install openjdk-17-jre-headless)", path, v)
	}
	return path, nil
}

// fetchJars fills dir/lib by Maven once and returns it. The folder appears
// whole or not at all, so an interrupted fetch leaves nothing half done.
func fetchJars(ctx context.Context, dir string) (string, error) {
	lib := filepath.Join(dir, "lib")
	if _, err := os.Stat(filepath.Join(lib, "kafka_2.13-"+KafkaVersion+".jar")); err == nil {
		return lib, nil
	}
	mvn, err := exec.LookPath("mvn")
	if err != nil {
		return "", errors.New("broker: a local Kafka is fetched by Maven the first time, and no mvn is on the PATH (Debian: apt install maven)")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("broker: %w", err)
	}
	tmp, err := os.MkdirTemp(dir, "fetch-")
	if err != nil {
		return "", fmt.Errorf("broker: %w", err)
	}
	defer os.RemoveAll(tmp)
	if err := os.WriteFile(filepath.Join(tmp, "pom.xml"), []byte(pom), 0o644); err != nil {
		return "", fmt.Errorf("broker: %w", err)
	}
	c := exec.CommandContext(ctx, mvn, "-q", "-B", "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies",
		"-DoutputDirectory=lib", "-DincludeScope=runtime")
	c.Dir = tmp
	if out, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("broker: Maven cannot fetch Kafka %s: %w: %s", KafkaVersion, err, firstError(out))
	}
	if err := os.Rename(filepath.Join(tmp, "lib"), lib); err != nil {
		if _, there := os.Stat(lib); there == nil {
			return lib, nil // another run was faster
		}
		return "", fmt.Errorf("broker: %w", err)
	}
	return lib, nil
}

// freePorts returns the wanted port and another free one.
func freePorts(want int) (ports [2]int, err error) {
	for i, p := range []int{want, 0} {
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p)))
		if err != nil {
			return ports, fmt.Errorf("broker: port %d is in use; name another one or leave it out to take a free one", p)
		}
		defer l.Close()
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}

// clusterID is a random UUID in Kafka's form.
func clusterID() string {
	var b [16]byte
	rand.Read(b[:])
	b[0] &= 0x7f // no leading dash, which the tool would take for an option
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func lastLine(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1]
}

// firstError returns Maven's first line of error: the rest explains Maven.
func firstError(out []byte) string {
	for s := bufio.NewScanner(bytes.NewReader(out)); s.Scan(); {
		if line, ok := strings.CutPrefix(s.Text(), "[ERROR] "); ok {
			return line
		}
	}
	return lastLine(out)
}
