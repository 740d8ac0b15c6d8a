package redis

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"

	"baton/control/engine"
)

// saveState reads where the server writes its dump and how its last save went.
func saveState(ctx context.Context, n *node, _ engine.Action) (engine.Result, error) {
	text, err := n.client.Info(ctx).Result()
	if err != nil {
		return engine.Result{}, asActionError(err, "read the state of saves", false)
	}
	m := parseInfo(text)
	if m["rdb_last_save_time"] == "" {
		return engine.Result{}, &engine.ActionError{Code: engine.CodeFailed, Detail: "the server does not tell when it saved last",
			Fix: "let the user Baton logs in as use INFO"}
	}
	settings := map[string]string{}
	for _, name := range []string{"dir", "dbfilename"} {
		got, err := n.client.ConfigGet(ctx, name).Result()
		if err != nil {
			return engine.Result{}, asActionError(err, "read the setting "+name, false)
		}
		if settings[name] = got[name]; settings[name] == "" {
			return engine.Result{}, &engine.ActionError{Code: engine.CodeFailed, Detail: "the server does not tell its setting " + name,
				Fix: "let the user Baton logs in as use CONFIG GET"}
		}
	}
	// Names of the log's files: of servers that have none of a setting nothing is said.
	for _, name := range []string{"appendonly", "appendfilename", "appenddirname"} {
		got, err := n.client.ConfigGet(ctx, name).Result()
		if err != nil {
			return engine.Result{}, asActionError(err, "read the setting "+name, false)
		}
		settings[name] = got[name]
	}
	saving := m["rdb_bgsave_in_progress"] == "1" || m["aof_rewrite_in_progress"] == "1" || m["aof_rewrite_scheduled"] == "1"
	keys := map[string]int64{}
	for k, v := range m {
		if n, err := strconv.ParseInt(strings.TrimPrefix(before(v, ","), "keys="), 10, 64); err == nil && strings.HasPrefix(k, "db") && strings.HasPrefix(v, "keys=") {
			keys[k[2:]] = n
		}
	}
	databases, err := json.Marshal(keys)
	if err != nil {
		return engine.Result{}, err
	}
	return values("databases", string(databases), "loading", m["loading"] == "1", "dir", settings["dir"], "file", settings["dbfilename"], "lastSaveUnix", m["rdb_last_save_time"], "saving", saving,
		"status", m["rdb_last_bgsave_status"], "usedMemoryBytes", m["used_memory"], "version", m["redis_version"],
		"appendOnly", settings["appendonly"], "appendFile", settings["appendfilename"], "appendDir", settings["appenddirname"]), nil
}

// before is the text before a separator, or all of it.
func before(s, sep string) string {
	head, _, _ := strings.Cut(s, sep)
	return head
}
