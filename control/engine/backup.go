package engine

// SaveState reads what a backup needs to know of an instance, changing
// nothing. Values: "dir" and "file" of its dump, "lastSaveUnix" (seconds, of the last good
// save), "saving" ("true" while a save or a rewrite of its log runs), "status" of
// the last save ("ok" or the engine's word), "usedMemoryBytes", "version", "databases" (JSON, keys of each
// database by its number), "loading" ("true" while it loads its data); of its append-only log
// "appendOnly" ("yes" when it keeps one), "appendFile" and "appendDir" (names, "" where it has no such setting).
const SaveState = "save-state"

// Backups of an event store are taken by its node into a directory of its
// host. Only the last run of a node is known, and a node has one at a time.
const (
	// StoreBackup{directory}: the node begins a backup into the directory, which is
	// absolute and empty or missing. Fails with CodeRefused while another runs.
	StoreBackup = "store-backup"
	// StoreBackupState reads the last run. Values: "state" (none, running, done,
	// failed, canceled), "directory", "bytes" (of the log), "bytesDone", "why" and
	// "fix" of one that failed.
	StoreBackupState = "store-backup-state"
	// StoreBackupEnd{directory} ends a run into the directory and waits until it
	// has ended; another run goes on.
	StoreBackupEnd = "store-backup-end"
)
