package engine

// SaveState reads what a backup needs to know of an instance, changing
// nothing. Values: "dir" and "file" of its dump, "lastSaveUnix" (seconds, of the last good
// save), "saving" ("true" while a save or a rewrite of its log runs), "status" of
// the last save ("ok" or the engine's word), "usedMemoryBytes", "version", "databases" (JSON, keys of each
// database by its number), "loading" ("true" while it loads its data); of its append-only log
// "appendOnly" ("yes" when it keeps one), "appendFile" and "appendDir" (names, "" where it has no such setting).
const SaveState = "save-state"
