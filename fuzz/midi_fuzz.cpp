// Whatever the bytes, a MIDI file is refused with an Error or gives notes in order that can be written and read again.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "headscope/error.h"
#include "headscope/music.h"
#include "law.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace headscope;
  try {
    const Tune tune = parse_midi({reinterpret_cast<const std::byte*>(data), size}, "fuzz");
    law(!tune.notes.empty() && tune.notes.size() <= size, "notes are no more than bytes");
    std::int64_t before = 0;
    for (const Note& note : tune.notes) {
      law(note.onset >= before && note.length >= 1 && note.pitch < 128, "notes are in order");
      before = note.onset;
    }
    const NoteCode code;
    const Score score = score_of(tune, code);
    law(score.pitch.size() % 4 == 0, "every step has its voices");
    law(score_of(ids_of(score, code), code).pitch == score.pitch, "tokens give the score back");
    const std::string written = midi_bytes(tune_of(score));
    law(written.starts_with("MThd"), "a score can be written");
  } catch (const Error& error) {
    law(std::string(error.what()).find('\n') == std::string::npos, "an Error is one line");
  }
  return 0;
}
