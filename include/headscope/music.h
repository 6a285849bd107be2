#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "headscope/sequence.h"

namespace headscope {

/// One note as a MIDI file holds it.
struct Note {
  std::int64_t onset = 0;   ///< ticks from the beginning
  std::int64_t length = 1;  ///< ticks, at least 1
  std::uint8_t pitch = 60;  ///< 0..127, 60 is C4
  std::uint8_t velocity = 80;
  std::uint8_t channel = 0;  ///< 0..15
  std::uint16_t track = 0;
};

/// A piece of music: notes, and how ticks become beats and seconds.
struct Tune {
  /// The beat lasts so long from a tick on; 120 beats a minute until the first.
  struct Tempo {
    std::int64_t tick = 0;
    std::int64_t microseconds = 500000;  ///< of a quarter note
  };
  struct Meter {
    std::int64_t tick = 0;
    int beats = 4, unit = 4;  ///< 3/8: 3 and 8
  };
  int ticks_per_beat = 480;  ///< of a quarter note
  std::vector<Note> notes;   ///< by onset, then pitch from above
  std::vector<Tempo> tempos;
  std::vector<Meter> meters;

  /// Where the last note ends, in ticks.
  [[nodiscard]] std::int64_t ticks() const;
  /// Cost O(tempos).
  [[nodiscard]] double seconds(std::int64_t tick) const;
};

/// A standard MIDI file (format 0 or 1, ticks of a beat). A note that is struck again ends there; one that is
/// never released ends with its track; a drum (channel 10) is no note.
/// Cost    at most 10 bytes for each byte of the file.
/// Errors  kFormat (names the byte), kUnsupported (format 2, time in frames of film), kInput (no note in it),
///         kNotFound, kIo, kResources (beyond 64 MiB).
Tune read_midi(const std::filesystem::path& path);
Tune parse_midi(std::span<const std::byte> file, std::string_view name);

/// A standard MIDI file of one track. Errors: kRange (pitch, velocity, channel, ticks out of what the format holds).
std::string midi_bytes(const Tune& tune);

/// "C4" for 60, "F#3", "B-1" is 11 - 12. Errors: kRange.
std::string note_name(int pitch);

/// Voices over a grid of short steps: what models of chorales read.
struct Score {
  int voices = 4;
  int steps_per_beat = 4;
  int beats_per_bar = 4;
  double beat_seconds = 0.5;
  std::vector<std::int16_t> pitch;  ///< [steps, voices]: 0..127, or -1 for silence
  [[nodiscard]] std::int64_t steps() const {
    return voices > 0 ? static_cast<std::int64_t>(pitch.size()) / voices : 0;
  }
};

/// How a score becomes tokens, from the `media.json` beside a model: voice after voice of a step, step after step.
/// A pitch that stays goes on sounding: a note struck again is not told from one that is held.
struct NoteCode {
  std::vector<std::string> voices = {"soprano", "alto", "tenor", "bass"};
  int steps_per_beat = 4;
  std::int32_t start = 0, end = 1, rest = 2, first = 3;  ///< ids; `first` is the lowest pitch
  int lowest = 0, highest = 127;
  [[nodiscard]] std::int32_t vocabulary() const { return first + highest - lowest + 1; }
};

/// The notes of a tune on a grid. Voices that lie in channels or tracks of their own stay themselves, the highest
/// first; else each step gives its highest note to the first voice, its lowest to the last.
/// Errors  kInput (no note), kResources (more than 2^20 steps).
Score score_of(const Tune& tune, const NoteCode& code);
/// Back from tokens; what is not a note or a rest is left out, and a last step that is cut short rests.
/// Errors  kRange (an id outside the code).
Score score_of(std::span<const std::int32_t> ids, const NoteCode& code);
/// Equal neighbours become one note; each voice has a channel of its own.
Tune tune_of(const Score& score);

/// [start], then the tokens of every step. Shapes [1 + steps * voices]. Errors: kShape (other voices), kInput (a
/// pitch outside the code: says where).
std::vector<std::int32_t> ids_of(const Score& score, const NoteCode& code);
/// The tunes of a MIDI file, of all MIDI files of a folder in the order of their names, or of a JSON file: an array of
/// tunes, or such arrays under names, of which `part` is taken ("train"); a tune is an array of steps, a step an array
/// of one pitch a voice, -1 for silence.
/// Errors  kNotFound, kIo, kFormat (names the file), kInput (no tune), those of read_midi and score_of.
std::vector<Score> read_scores(const std::filesystem::path& path,
                               const std::string& part,
                               const NoteCode& code);

/// What those are for a person: "C5 beat 3, soprano"; row is the voice, column the step.
std::vector<Label> labels_of(std::span<const std::int32_t> ids,
                             const NoteCode& code,
                             int beats_per_bar = 4);

}  // namespace headscope
