#include "cli/input.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <limits>

#include "cli/sequences.h"
#include "headscope/error.h"
#include "headscope/media.h"
#include "headscope/safetensors.h"

namespace headscope::cli {

namespace {

constexpr std::int64_t kPictureSide = 448;
constexpr std::int64_t kFrameSide = 224;

// The bytes of a file, mapped, or those that were read already.
struct Source {
  std::shared_ptr<const MappedFile> file;
  std::string held;
  std::string name;
  [[nodiscard]] std::span<const std::byte> bytes() const {
    return file ? file->bytes() : std::as_bytes(std::span(held));
  }
  [[nodiscard]] std::string_view text() const {
    return {reinterpret_cast<const char*>(bytes().data()), bytes().size()};
  }
};

bool is_file(const std::string& word) {
  std::error_code ignored;
  return std::filesystem::is_regular_file(word, ignored);
}

Source open(const Call& call, std::span<const std::string> words) {
  Source out;
  if (words.size() == 1 && is_file(words[0])) {
    out.file = MappedFile::open(words[0]);
    out.name = std::filesystem::path(words[0]).filename().string();
  } else {
    out.held = read_bytes(call, words);
    const bool piped = words.size() == 1 && words[0] == "-";
    out.name = piped ? text(call.screen.lang, Word::kStandardInput) : "text";
  }
  return out;
}

[[noreturn]] void wrong_kind(const Call& call,
                             Word wanted,
                             const std::string& name,
                             const std::string& found) {
  throw Error(ErrorCode::kInput,
              say(call.screen.lang,
                  Word::kWrongInput,
                  call.verb,
                  say(call.screen.lang, wanted),
                  clean(name),
                  found));
}

[[noreturn]] void wrong_kind(const Call& call,
                             Word wanted,
                             const std::string& name,
                             MediaKind found) {
  wrong_kind(call, wanted, name, say(call.screen.lang, word_of(found)));
}

[[noreturn]] void wrong_words(const Call& call, Word wanted, std::span<const std::string> words) {
  const std::string name = words.empty() ? "" : words[0];
  wrong_kind(call, wanted, name, say(call.screen.lang, word_of(words)));
}

void set_ids(const Call& call, Subject& out, std::vector<std::int32_t> ids) {
  const std::int32_t most = ids.empty() ? 0 : *std::max_element(ids.begin(), ids.end());
  if (most >= out.model.vocabulary()) {
    throw Error(ErrorCode::kShape,
                fmt::format("[{}] expected a model of more than {} tokens for this input, found {}",
                            call.verb,
                            most,
                            out.model.vocabulary()));
  }
  out.tokens.ids = Tensor(DType::kI32, {1, static_cast<std::int64_t>(ids.size())});
  std::copy(ids.begin(), ids.end(), out.tokens.ids.span<std::int32_t>().begin());
}

// How many bytes there is room for; too long is an error unless it may be cut.
std::int64_t room(const Call& call, const Subject& subject, std::int64_t length, bool truncate) {
  const std::int64_t most = subject.model.positions();
  if (length <= most || truncate) return std::min(length, most);
  throw Error(ErrorCode::kInput,
              say(call.screen.lang,
                  Word::kTooLongInput,
                  call.verb,
                  clean(subject.model.name()),
                  most,
                  length));
}

// A tune that is too long keeps its beginning, in whole steps: [start] stands before it, and bars
// are counted from it.
void cut_tune(const Call& call,
              const NoteCode& code,
              const Score& score,
              std::vector<std::int32_t>& ids,
              Subject& out) {
  const auto whole = static_cast<std::int64_t>(ids.size());
  if (whole <= out.model.positions()) return;
  const auto voices = static_cast<std::int64_t>(code.voices.size());
  const std::int64_t steps = std::max<std::int64_t>((out.model.positions() - 1) / voices, 0);
  ids.resize(static_cast<std::size_t>(1 + steps * voices));
  const auto beats = [&](std::int64_t n) { return static_cast<double>(n) / score.steps_per_beat; };
  out.tokens_before_cut = whole;
  out.cut_said = true;
  out.remarks.push_back(say(call.screen.lang, Word::kStepsCut, beats(steps), beats(score.steps())));
}

void read_notes(const Call& call, const Source& source, const NoteCode& code, Subject& out) {
  const MediaKind kind = sniff(source.bytes());
  if (kind != MediaKind::kMidi) wrong_kind(call, Word::kReadsNotes, source.name, kind);
  const Score score = score_of(parse_midi(source.bytes(), source.name), code);
  std::vector<std::int32_t> ids = ids_of(score, code);
  cut_tune(call, code, score, ids, out);
  out.labels = labels_of(ids, code, score.beats_per_bar);
  Scene& scene = out.scene;
  scene.kind = Scene::Kind::kNotes;
  scene.names = code.voices;
  scene.steps_per_beat = score.steps_per_beat;
  scene.beats_per_bar = score.beats_per_bar;
  scene.beat_seconds = score.beat_seconds;
  for (const std::int32_t id : ids) {
    const bool note = id >= code.first && id != code.rest;
    const double rest = id == code.rest ? -1.0 : std::numeric_limits<double>::quiet_NaN();
    scene.values.push_back(note ? static_cast<double>(id - code.first + code.lowest) : rest);
  }
  set_ids(call, out, std::move(ids));
}

// Letters of another code are the commonest reason why a table is no text.
[[noreturn]] void no_table(const Call& call, const Source& source, MediaKind kind) {
  const auto bytes = source.bytes();
  if (kind == MediaKind::kBytes) {
    const auto at = static_cast<std::size_t>(no_text_at(bytes));
    const auto byte = std::to_integer<unsigned>(bytes[at]);
    if (byte >= 0x80) {
      wrong_kind(
          call, Word::kReadsTable, source.name, say(call.screen.lang, Word::kNotUtf8, at, byte));
    }
  }
  wrong_kind(call, Word::kReadsTable, source.name, kind);
}

void read_numbers(const Call& call,
                  const Source& source,
                  const NumberCode& code,
                  const InputWishes& wishes,
                  Subject& out) {
  const MediaKind kind = sniff(source.bytes());
  if (kind != MediaKind::kText) no_table(call, source, kind);
  const Table table = parse_csv(source.text(), source.name);
  const std::vector<std::size_t> columns = columns_of(table, wishes.columns);
  const auto across = static_cast<std::int64_t>(columns.size());
  const auto whole = 1 + static_cast<std::int64_t>(table.rows.size()) * across;
  const auto all = static_cast<std::int64_t>(table.rows.size());
  // A table that is too long keeps its end: what comes next is foretold from it.
  const std::int64_t rows = std::min(all, (out.model.positions() - 1) / across);
  if (rows < 1) wrong_kind(call, Word::kReadsTable, source.name, kind);
  if (rows < all) {
    out.tokens_before_cut = whole;
    out.cut_said = true;
    out.remarks.push_back(say(call.screen.lang, Word::kRowsCut, rows, all));
  }
  Numbers numbers = ids_of(table, columns, code, rows);
  Scene& scene = out.scene;
  scene.kind = Scene::Kind::kTable;
  for (const std::size_t c : columns) scene.names.push_back(kept_name(table.columns[c].name));
  scene.rows.assign(table.rows.end() - rows, table.rows.end());
  scene.values = std::move(numbers.values);
  out.labels = std::move(numbers.labels);
  set_ids(call, out, std::move(numbers.ids));
}

void read_any(const Call& call,
              const Source& source,
              std::int32_t first,
              const InputWishes& wishes,
              Subject& out) {
  auto bytes = source.bytes();
  if (out.model.positions() < 1 || out.model.vocabulary() < 1)
    throw Error(ErrorCode::kUnsupported,
                say(call.screen.lang, Word::kBytesNeedTokens, call.verb, clean(out.model.name())));
  if (bytes.empty())
    throw Error(ErrorCode::kInput, say(call.screen.lang, Word::kNoBytes, call.verb, source.name));
  const auto whole = static_cast<std::int64_t>(bytes.size());
  bytes = bytes.first(static_cast<std::size_t>(room(call, out, whole, wishes.truncate)));
  if (static_cast<std::int64_t>(bytes.size()) < whole) out.tokens_before_cut = whole;
  std::vector<std::int32_t> ids;
  for (const std::byte b : bytes) {
    ids.push_back(first + std::to_integer<std::int32_t>(b));
    out.scene.values.push_back(std::to_integer<int>(b));
  }
  out.scene.kind = Scene::Kind::kBytes;
  out.labels = byte_labels(bytes);
  set_ids(call, out, std::move(ids));
}

// The attentions that pictures go through, and what the first of them looks at.
void find_layers(Subject& out) {
  const Model& model = out.model;
  for (int layer = 0; layer < model.layers(); ++layer) {
    std::vector<Label> labels = model.labels(out.tokens, layer, 0);
    if (labels.empty()) continue;
    out.layers.push_back(layer);
    if (out.labels.empty()) out.labels = std::move(labels);
  }
}

// What a video lacks, and where a picture is taken for a video or a video for a picture.
void remark(
    const Call& call, MediaKind kind, const FrameChoice& choice, const Clip& clip, Subject& out) {
  const auto add = [&](Word word, const auto&... values) {
    out.remarks.push_back(say(call.screen.lang, word, values...));
  };
  const std::int64_t frames = out.model.frames();
  if (frames > 0 && clip.total <= 1) add(Word::kStandsStill, frames);
  if (frames == 0)
    add(Word::kOneFrame, choice.first >= 0 ? choice.first : (clip.total - 1) / 2, clip.total);
  // Headers round, and editing leaves frames out.
  if (kind == MediaKind::kVideo && 10 * clip.total < 9 * clip.promised)
    add(Word::kFewerFrames, clip.promised, clip.total);
  if (clip.damaged > 0) add(Word::kPassedOver, clip.damaged);
}

void read_pictures(const Call& call,
                   const Source& source,
                   MediaKind kind,
                   const InputWishes& wishes,
                   Subject& out) {
  Scene& scene = out.scene;
  const Model& model = out.model;
  const bool video = model.frames() > 0;
  Tensor frames;
  if (video) {
    Clip clip = parse_clip(source.bytes(), source.name, model.frames(), {}, wishes.frames);
    remark(call, kind, wishes.frames, clip, out);
    frames = std::move(clip.frames);
    scene.seconds = std::move(clip.seconds);
  } else if (kind == MediaKind::kVideo) {  // the middle of a video, for a model of pictures
    Clip clip = parse_clip(source.bytes(), source.name, 1, {}, wishes.frames);
    remark(call, kind, wishes.frames, clip, out);
    frames = std::move(clip.frames);
  } else {
    const Tensor one = parse_picture(source.bytes(), source.name);
    frames = Tensor(DType::kU8, {1, one.dim(0), one.dim(1), 3});
    std::copy_n(one.span<std::uint8_t>().begin(), one.size(), frames.span<std::uint8_t>().begin());
  }
  scene.kind = video ? Scene::Kind::kVideo : Scene::Kind::kImage;
  const auto rgb = std::as_const(frames).view<std::uint8_t, 4>();
  out.tokens = model.pixels(rgb);
  scene.pictures = model.seen(rgb, video ? kFrameSide : kPictureSide);
  find_layers(out);
}

// Wishes that this input has no use for are refused: nobody should take the answer for theirs.
void check_wishes(const Call& call,
                  const InputWishes& wishes,
                  const SequenceCode& code,
                  bool video,
                  const std::string& found) {
  const auto refuse = [&](Word wanted, const char* option) {
    const Lang lang = call.screen.lang;
    throw Error(ErrorCode::kUsage,
                say(lang, Word::kOptionReads, call.verb, say(lang, wanted), option, found));
  };
  if (!wishes.columns.empty() && !code.numbers) refuse(Word::kAskedTable, "--column");
  if (wishes.frames.first >= 0 && !video) refuse(Word::kAVideo, "--frames");
}

}  // namespace

Word word_of(MediaKind kind) {
  switch (kind) {
    case MediaKind::kImage:
      return Word::kAPicture;
    case MediaKind::kVideo:
      return Word::kAVideo;
    case MediaKind::kAudio:
      return Word::kSound;
    case MediaKind::kMidi:
      return Word::kMusic;
    case MediaKind::kBytes:
      return Word::kSomeBytes;
    case MediaKind::kText:
      break;
  }
  return Word::kSomeText;
}

Word word_of(std::span<const std::string> words) {
  if (is_missing_file(words)) return Word::kNoFileThere;
  std::error_code ignored;
  const auto there = std::filesystem::status(words.size() == 1 ? words[0] : "", ignored);
  if (std::filesystem::is_directory(there)) return Word::kAFolder;
  if (std::filesystem::exists(there) || (words.size() == 1 && words[0] == "-"))
    return Word::kADevice;
  return Word::kSomeText;
}

void check_wishes_of_text(const Call& call, const InputWishes& wishes) {
  check_wishes(call, wishes, {}, false, say(call.screen.lang, Word::kSomeText));
}

bool reads_text(const Model& model) {
  try {
    (void)model.tokenizer();
    return true;
  } catch (const Error&) {
    return false;
  }
}

Word word_of(const Model& model) {
  const SequenceCode code = code_beside(model);
  if (code.notes) return Word::kReadsNotes;
  if (code.numbers) return Word::kReadsTable;
  return model.sees() && !reads_text(model) ? Word::kReadsPictures : Word::kReadsText;
}

void label_layers(const Model& model, const Tokens& tokens, Sighting& sighting) {
  std::vector<std::vector<Label>> all(sighting.layers.size());
  bool any = false;
  for (std::size_t n = 0; n < all.size(); ++n) {
    const FocusRecord& record = sighting.layers[n];
    if (record.batch < 1 || record.heads.empty()) continue;
    const int layer = static_cast<int>(n);
    const std::vector<Label> first = model.labels(tokens, layer, 0);
    const auto same_text = [](const Label& a, const Label& b) { return a.text == b.text; };
    if (record.batch == 1 && std::equal(first.begin(),
                                        first.end(),
                                        sighting.labels.begin(),
                                        sighting.labels.end(),
                                        same_text)) {
      continue;
    }
    any = true;
    for (std::int64_t b = 0; b < record.batch; ++b) {
      for (Label& label : model.labels(tokens, layer, b)) all[n].push_back(std::move(label));
    }
  }
  if (any) sighting.layer_labels = std::move(all);
}

bool prepare_other(const Call& call,
                   std::span<const std::string> words,
                   const InputWishes& wishes,
                   Subject& out) {
  SequenceCode code = code_beside(out.model);
  if (!wishes.as.empty()) code = {{}, {}, code.bytes.value_or(0)};
  const bool other = code.notes || code.numbers || code.bytes;
  const bool file = words.size() == 1 && (is_file(words[0]) || words[0] == "-");
  if (!file && !code.bytes) {  // words of a text
    if (const Word reads = word_of(out.model); reads != Word::kReadsText)
      wrong_words(call, reads, words);
    check_wishes_of_text(call, wishes);
    return false;
  }
  Source source = open(call, words);
  out.scene.source = source.name;
  out.text = source.name;
  const MediaKind kind = sniff(source.bytes());
  const std::string found =
      wishes.as.empty() ? say(call.screen.lang, word_of(kind)) : "--as " + wishes.as;
  const bool video =
      kind == MediaKind::kVideo || (kind == MediaKind::kImage && out.model.frames() > 0);
  check_wishes(call, wishes, code, video && !other, found);
  if (code.bytes) {
    read_any(call, source, *code.bytes, wishes, out);
    return true;
  }
  if (code.notes) {
    read_notes(call, source, *code.notes, out);
    return true;
  }
  if (code.numbers) {
    read_numbers(call, source, *code.numbers, wishes, out);
    return true;
  }
  if (out.model.sees() && (kind == MediaKind::kImage || kind == MediaKind::kVideo)) {
    read_pictures(call, source, kind, wishes, out);
    return true;
  }
  out.scene = {};
  out.text.clear();
  if (kind == MediaKind::kText || kind == MediaKind::kBytes) {
    if (const Word reads = word_of(out.model); reads != Word::kReadsText)
      wrong_kind(call, reads, source.name, kind);
    out.text = std::move(source.held);  // standard input is read once
    return false;
  }
  wrong_kind(call, out.model.sees() ? Word::kReadsPictures : Word::kReadsText, source.name, kind);
}

}  // namespace headscope::cli
