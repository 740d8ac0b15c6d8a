package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"baton/test/fleet"
)

// controlProcess is a real `baton control` process and a client of it.
type controlProcess struct {
	binary, dir   string
	nice          bool // run at nice -20
	listen, token string
	cmd           *exec.Cmd
	pid           int
	client        *http.Client
}

// controlStartTime bounds the start of the process.
const controlStartTime = 2 * time.Minute

func newControlProcess(binary, dir string) *controlProcess {
	return &controlProcess{binary: binary, dir: dir, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256}}}
}

func (r *controlProcess) stop() {
	endProcess(r.cmd)
	r.client.CloseIdleConnections()
}

// start starts the process and waits until it serves.
func (r *controlProcess) start() (err error) {
	ports, err := fleet.FreePorts(2)
	if err != nil {
		return err
	}
	r.listen = fmt.Sprintf("127.0.0.1:%d", ports[0])
	args := []string{r.binary, "control", "--data", filepath.Join(r.dir, "data"), "--listen", r.listen, "--agent-listen", fmt.Sprintf("127.0.0.1:%d", ports[1])}
	if r.nice {
		args = append([]string{"nice", "-n", "-20"}, args...)
	}
	cmd := exec.Command(args[0], args[1:]...)
	log, err := os.Create(filepath.Join(r.dir, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stderr = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	r.cmd, r.pid = cmd, cmd.Process.Pid
	ready := make(chan bool, 1)
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if strings.HasPrefix(lines.Text(), "Commands") {
				ready <- true
			}
		}
		ready <- false
	}()
	select {
	case ok := <-ready:
		if !ok {
			r.stop()
			b, _ := os.ReadFile(filepath.Join(r.dir, "log"))
			return fmt.Errorf("baton control ended: %s", b)
		}
	case <-time.After(controlStartTime):
		r.stop()
		return errors.New("baton control does not start")
	}
	b, err := os.ReadFile(filepath.Join(r.dir, "data", "cli-token"))
	if err != nil {
		r.stop()
		return err
	}
	r.token = strings.TrimSpace(string(b))
	return nil
}

// call makes one request and returns the size of the answer.
func (r *controlProcess) call(ctx context.Context, method, path string, in, out any) (int, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return 0, err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+r.listen+"/api/v1"+path, body)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+r.token)
	req.Header.Set("Content-Type", "application/json")
	res, err := r.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	if res.StatusCode >= 300 {
		b, _ := io.ReadAll(io.LimitReader(res.Body, 4096))
		return 0, fmt.Errorf("%s %s: %d %s", method, path, res.StatusCode, b)
	}
	if out == nil {
		n, err := io.Copy(io.Discard, res.Body)
		return int(n), err
	}
	return 0, json.NewDecoder(res.Body).Decode(out)
}

func (r *controlProcess) joinToken(ctx context.Context) (string, error) {
	var t struct{ Token string }
	_, err := r.call(ctx, "POST", "/hosts/join-token", map[string]any{}, &t)
	return t.Token, err
}
