#include "cli/labels.h"

#include <algorithm>
#include <optional>
#include <set>
#include <string_view>

#include "cli/screen.h"

namespace headscope::cli {

namespace {

// A note as labels_of writes it: "C4 beat 1.25, soprano", "rest beat 1, alto".
struct Note {
  std::string_view pitch, beat, voice;
};

std::optional<Note> note_in(std::string_view text) {
  constexpr std::string_view kBeat = " beat ";
  const std::size_t beat = text.find(kBeat);
  if (beat == text.npos) return std::nullopt;
  const std::size_t voice = text.find(", ", beat);
  if (voice == text.npos) return std::nullopt;
  const std::size_t from = beat + kBeat.size();
  return Note{text.substr(0, beat), text.substr(from, voice - from), text.substr(voice + 2)};
}

std::string pitch_name(Lang lang, std::string_view pitch) {
  return pitch == "rest" ? std::string(text(lang, Word::kLabelRest)) : std::string(pitch);
}

std::string voice_name(Lang lang, std::string_view voice) {
  if (voice == "soprano") return std::string(text(lang, Word::kVoiceSoprano));
  if (voice == "alto") return std::string(text(lang, Word::kVoiceAlto));
  if (voice == "tenor") return std::string(text(lang, Word::kVoiceTenor));
  if (voice == "bass") return std::string(text(lang, Word::kVoiceBass));
  return std::string(voice);
}

// The first letter of a word, a Latin one as a capital: voices are written in small letters.
std::string initial(std::string word) {
  std::size_t n = std::min<std::size_t>(1, word.size());  // bytes of the letter
  while (n < word.size() && (static_cast<unsigned char>(word[n]) & 0xC0U) == 0x80U) ++n;
  word.resize(n);
  if (n == 1 && word[0] >= 'a' && word[0] <= 'z') word[0] = static_cast<char>(word[0] - 'a' + 'A');
  return word;
}

// "S" where first letters tell the voices apart, else their number.
std::string voice_mark(Lang lang, const Scene& scene, const Label& label, std::string_view voice) {
  std::set<std::string> letters;
  for (const std::string& name : scene.names) letters.insert(initial(voice_name(lang, name)));
  return letters.size() < scene.names.size() ? std::to_string(label.row + 1)
                                             : initial(voice_name(lang, voice));
}

const std::string* named(const std::vector<std::string>& names, int at) {
  const auto n = static_cast<std::size_t>(at);
  return at >= 0 && n < names.size() ? &names[n] : nullptr;
}

// "7", "1920": on its own it would read as a weight; longer numbers are dates.
bool is_short_number(std::string_view name) {
  return !name.empty() && name.size() <= 4 &&
         std::all_of(name.begin(), name.end(), [](char c) { return c >= '0' && c <= '9'; });
}

std::string table_label(Lang lang, const Scene& scene, const Label& label, bool brief) {
  const std::string* row = named(scene.rows, label.row);
  const std::string* column = named(scene.names, label.column);
  if (row == nullptr || column == nullptr) return label.text;
  const bool one = scene.names.size() == 1;
  const std::string whole = say(lang, Word::kLabelRow, *row);
  if (!brief) return one ? whole : say(lang, Word::kLabelCell, *row, *column);
  constexpr int kLongestDate = 25;  // 2009-09-01T00:00:00+00:00
  const std::string name = is_short_number(*row) ? whole : clip(*row, kLongestDate);
  return one ? name : name + ' ' + clip(*column, 6);
}

std::string note_label(Lang lang, const Scene& scene, const Label& label, bool brief) {
  const std::optional<Note> note = note_in(label.text);
  if (!note || label.column < 0) return label.text;
  const std::string pitch = pitch_name(lang, note->pitch);
  const int bar = label.column / std::max(scene.steps_per_beat * scene.beats_per_bar, 1) + 1;
  if (!brief)
    return say(lang, Word::kLabelNote, pitch, bar, note->beat, voice_name(lang, note->voice));
  const std::string voice = voice_mark(lang, scene, label, note->voice);
  return fmt::format("{} {}.{} {}", pitch, bar, note->beat, voice);
}

std::string patch_label(Lang lang, const Label& label, bool brief) {
  const bool frame = label.text.starts_with("frame ");
  if (!frame && !label.text.starts_with("patch ")) return label.text;
  const std::string place = fmt::format("{},{}", label.row, label.column);
  if (frame)
    return say(lang, brief ? Word::kLabelFrameBrief : Word::kLabelFrame, label.frame, place);
  return brief ? place : say(lang, Word::kLabelPatch, place);
}

std::string label_of(Lang lang, const Sighting& sighting, const Label& label, bool brief) {
  constexpr std::string_view kByte = "byte ";
  if (label.special) return label.text;
  switch (sighting.scene.kind) {
    case Scene::Kind::kImage:
    case Scene::Kind::kVideo:
      return patch_label(lang, label, brief);
    case Scene::Kind::kNotes:
      return note_label(lang, sighting.scene, label, brief);
    case Scene::Kind::kTable:
      return table_label(lang, sighting.scene, label, brief);
    case Scene::Kind::kBytes: {
      if (!label.text.starts_with(kByte)) return label.text;
      const std::string rest = label.text.substr(kByte.size());
      return brief ? rest : say(lang, Word::kLabelByte, rest);
    }
    case Scene::Kind::kText:
      break;
  }
  return label.text;
}

}  // namespace

std::string full_label(Lang lang, const Sighting& sighting, const Label& label) {
  return label_of(lang, sighting, label, false);
}

std::string short_label(Lang lang, const Sighting& sighting, const Label& label) {
  return label_of(lang, sighting, label, true);
}

}  // namespace headscope::cli
