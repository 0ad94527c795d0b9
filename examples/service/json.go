package service

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
)

const maxBody = 64 << 10

// Read decodes the one JSON object of a request, at most 64 KiB of it, without members that v does not have. If it cannot, it
// has answered.
func Read(w http.ResponseWriter, r *http.Request, v any) bool {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if err == nil {
		if _, err = d.Token(); errors.Is(err, io.EOF) {
			return true
		}
	}
	http.Error(w, "a JSON object of the documented form is needed", http.StatusBadRequest)
	return false
}

// Write answers with JSON.
func Write(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client is gone then
}
