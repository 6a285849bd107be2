#include "cli/sequences.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>

#include "cli/input.h"
#include "cli/json_writer.h"
#include "cli/progress.h"
#include "headscope/error.h"
#include "headscope/forecast.h"
#include "headscope/safetensors.h"

namespace headscope::cli {

namespace {

[[noreturn]] void wrong_kind(const Call& call, Word wanted, const std::string& path) {
  const MediaKind kind = sniff(path);
  std::string found = say(call.screen.lang, word_of(kind));
  if (wanted == Word::kRunReadsTable && kind == MediaKind::kBytes) {
    const auto file = MappedFile::open(path);
    const auto at = static_cast<std::size_t>(no_text_at(file->bytes()));
    const auto byte = std::to_integer<unsigned>(file->bytes()[at]);
    // Letters of another code are the commonest reason why a table is no text.
    if (byte >= 0x80) found = say(call.screen.lang, Word::kNotUtf8, at, byte);
  }
  throw Error(ErrorCode::kInput, say(call.screen.lang, wanted, clean(path), found));
}

// That the input is an ordinary file, and -o names one of the kind that is written.
void check_files(const Call& call, bool notes, const std::string& path, const std::string& output) {
  namespace fs = std::filesystem;
  const Lang lang = call.screen.lang;
  std::error_code ignored;
  if (!fs::is_regular_file(path, ignored)) {
    throw Error(ErrorCode::kInput,
                say(lang,
                    notes ? Word::kRunReadsNotes : Word::kRunReadsTable,
                    clean(path),
                    say(lang, word_of(std::span(&path, 1)))));
  }
  const std::string ending = folded(fs::path(output).extension().string());
  if (output.empty() || ending == (notes ? ".mid" : ".csv") || (notes && ending == ".midi")) return;
  throw Error(ErrorCode::kUsage,
              say(lang,
                  Word::kExpectedFound,
                  call.verb,
                  "-o",
                  notes ? "NAME.mid | NAME.midi" : "NAME.csv",
                  clean(output)));
}

// How a tune went on.
struct GoneOn {
  Score score;
  std::int64_t known = 0, read = 0;  // steps of the file, and how many of them were read
  std::vector<std::int32_t> ids;     // of the answer
  bool ended = false;                // the model drew its end
};

// Whole steps in half of the positions: the other half is for what is known. One step in any case: where even that
// does not fit, Generator says so.
std::int64_t most_notes(const Model& model, const NoteCode& code, const GenerateOptions& options) {
  const auto voices = static_cast<std::int64_t>(code.voices.size());
  const std::int64_t positions = options.positions > 0 ? options.positions : model.positions();
  return std::max<std::int64_t>(1, positions / 2 / voices) * voices;
}

// The last steps that leave room for the answer, always behind [start].
std::vector<std::int32_t> shortened(std::vector<std::int32_t> ids,
                                    std::int64_t voices,
                                    std::int64_t most) {
  const std::int64_t steps = (static_cast<std::int64_t>(ids.size()) - 1) / voices;
  const std::int64_t kept = std::min(steps, std::max<std::int64_t>(1, (most - 1) / voices));
  ids.erase(ids.begin() + 1, ids.begin() + 1 + (steps - kept) * voices);
  return ids;
}

// As many tokens as are asked for: neither the end nor another start is drawn.
std::vector<std::int32_t> draw_notes(const Model& model,
                                     const NoteCode& code,
                                     std::vector<std::int32_t> ids,
                                     const GenerateOptions& options) {
  Generator generator(model, options);
  Sampler sampler(options.sampling, ids);
  std::vector<std::int32_t> out;
  while (static_cast<std::int64_t>(out.size()) < options.most) {
    generator.read(ids);  // what was read before is kept
    const auto found = generator.logits();
    std::vector<float> logits(found.begin(), found.end());
    for (const std::int32_t id : {code.end, code.start}) {
      if (id >= 0 && static_cast<std::size_t>(id) < logits.size())
        logits[static_cast<std::size_t>(id)] = -std::numeric_limits<float>::infinity();
    }
    out.push_back(sampler.next(logits));
    ids.push_back(out.back());
  }
  return out;
}

// Until the model draws its end, or as many tokens as there may be.
std::vector<std::int32_t> draw_to_end(const Model& model,
                                      const NoteCode& code,
                                      const std::vector<std::int32_t>& ids,
                                      const GenerateOptions& options,
                                      bool& ended) {
  Generator generator(model, options);
  generator.read(ids);
  while (generator.step()) {
  }
  std::vector<std::int32_t> out = generator.answer();
  const auto end = std::find(out.begin(), out.end(), code.end);
  ended = generator.ended() == Ended::kStop || end != out.end();
  out.erase(end, out.end());
  return out;
}

// Who asks for so many notes (`whole`) gets them; else the piece may end.
GoneOn sing(const Model& model,
            const NoteCode& code,
            const Tune& tune,
            GenerateOptions options,
            bool whole) {
  GoneOn out;
  out.score = score_of(tune, code);
  out.known = out.score.steps();
  const auto voices = static_cast<std::int64_t>(code.voices.size());
  const std::int64_t positions = options.positions > 0 ? options.positions : model.positions();
  if (whole) options.most = (options.most + voices - 1) / voices * voices;
  options.most = std::min(options.most, most_notes(model, code, options));
  const std::vector<std::int32_t> ids =
      shortened(ids_of(out.score, code), voices, positions - options.most);
  out.read = (static_cast<std::int64_t>(ids.size()) - 1) / voices;
  const std::vector<std::int32_t> drawn = whole ? draw_notes(model, code, ids, options)
                                                : draw_to_end(model, code, ids, options, out.ended);
  for (const std::int32_t id : drawn) {
    if (id == code.rest || id >= code.first) out.ids.push_back(id);
  }
  // Whole steps alone: half a chord is none.
  out.ids.resize(out.ids.size() - out.ids.size() % static_cast<std::size_t>(voices));
  const Score more = score_of(out.ids, code);
  out.score.pitch.insert(out.score.pitch.end(), more.pitch.begin(), more.pitch.end());
  return out;
}

// A line a beat: "17.1  E5  C5  G4  C3".
std::string beats(const Screen& screen, const Score& score, std::int64_t from) {
  std::string out;
  for (std::int64_t step = from; step < score.steps(); step += score.steps_per_beat) {
    const std::int64_t beat = step / score.steps_per_beat;
    std::string line =
        "  " +
        right(fmt::format("{}.{}", beat / score.beats_per_bar + 1, beat % score.beats_per_bar + 1),
              6);
    for (int v = 0; v < score.voices; ++v) {
      const int pitch = score.pitch[static_cast<std::size_t>(step * score.voices + v)];
      line += "  " + left(pitch < 0 ? "-" : note_name(pitch), 4);
    }
    out += clip(trimmed(line), screen.width) + '\n';
  }
  return out;
}

int surprise(const Call& call,
             const Model& model,
             const NoteCode& code,
             const Tune& tune,
             const RunWishes& wishes,
             std::string& out) {
  const std::vector<std::int32_t> ids = ids_of(score_of(tune, code), code);
  const Foresight found = foresight(model, ids, foresight_options(wishes));
  return tell_foresight(call, model, found, out);
}

int go_on_tune(const Call& call,
               const Model& model,
               const NoteCode& code,
               const std::string& path,
               RunWishes wishes,
               const GoOnWishes& more,
               std::string& out) {
  const Lang lang = call.screen.lang;
  if (sniff(path) != MediaKind::kMidi) wrong_kind(call, Word::kRunReadsNotes, path);
  const Tune tune = read_midi(path);
  if (more.perplexity) return surprise(call, model, code, tune, wishes, out);
  if (more.tokens_given)
    wishes.generate.most =
        check_range(call, "-n", wishes.generate.most, 1, most_notes(model, code, wishes.generate));
  if (!more.temperature_given) wishes.generate.sampling.temperature = 1.0F;
  GoneOn gone;
  {
    const Progress progress(lang, say(lang, Word::kRunning, clean(path)));
    gone = sing(model, code, tune, wishes.generate, more.tokens_given);
  }
  const std::int64_t added = gone.score.steps() - gone.known;
  if (!more.output.empty())
    write_file(more.output, std::string_view(midi_bytes(tune_of(gone.score))));
  if (call.json) {
    JsonWriter json;
    json.begin_object().field("headscope", HEADSCOPE_VERSION).field("verb", "run");
    json.field("model", model.name()).field("known_steps", gone.known);
    json.field("read_steps", gone.read).field("steps", added);
    json.field("ended", gone.ended).array<std::int32_t>("ids", gone.ids).end_object();
    out += std::move(json).take();
    return 0;
  }
  const auto in_beats = [&](std::int64_t steps) {
    return static_cast<double>(steps) / gone.score.steps_per_beat;
  };
  out += say(lang, Word::kRunTune, clean(path), in_beats(gone.known), in_beats(added)) + '\n';
  if (gone.read < gone.known) out += say(lang, Word::kRunTuneCut, in_beats(gone.read)) + '\n';
  if (gone.ended)
    out += std::string(text(lang, added > 0 ? Word::kRunTuneEnded : Word::kRunTuneOver)) + '\n';
  out += beats(call.screen, gone.score, gone.known);
  if (!more.output.empty()) out += "  " + say(lang, Word::kWrote, clean(more.output)) + '\n';
  return 0;
}

// The next rows of one column, and what became of the last rows when they were foretold without being seen.
struct Column {
  std::string name;
  Forecast next;
  std::int64_t period = 1;
  std::int64_t held = 0;
  double error = 0.0, baseline = 0.0;
};

Column column_of(const Model& model,
                 const NumberCode& code,
                 const Table::Column& column,
                 const ForecastOptions& options) {
  Column out;
  out.name = column.name;
  const std::span<const double> values = column.values;
  out.next = forecast(model, code, values, options);
  const auto n = static_cast<std::int64_t>(values.size());
  out.held = std::min(options.rows, n / 3);
  out.period = period_of(values.first(static_cast<std::size_t>(n - out.held)));
  if (out.held < 1) return out;
  const auto known = values.first(static_cast<std::size_t>(n - out.held));
  const auto truth = values.last(static_cast<std::size_t>(out.held));
  ForecastOptions back = options;
  back.rows = out.held;
  out.error = mean_error(forecast(model, code, known, back).middle, truth);
  out.baseline = mean_error(one_period_ago(known, out.period, out.held), truth);
  return out;
}

// "1961-04", as the rows of the table go on; "+1" where that is not to be told.
std::vector<std::string> names_after(const Table& table, std::int64_t rows) {
  std::vector<std::string> out;
  if (table.index >= 0) out = rows_after(table.rows, rows);
  for (std::int64_t row = static_cast<std::int64_t>(out.size()); row < rows; ++row)
    out.push_back(fmt::format("+{}", row + 1));
  return out;
}

std::string as_csv(const std::vector<Column>& columns, const std::vector<std::string>& rows) {
  const auto quoted = [](const std::string& name) {
    std::string text;
    for (const char c : name) text += c == '"' ? std::string("\"\"") : std::string(1, c);
    return '"' + text + '"';
  };
  std::string out = "row";
  for (const Column& c : columns)
    out += ',' + quoted(c.name) + ',' + quoted(c.name + " low") + ',' + quoted(c.name + " high");
  out += '\n';
  for (std::size_t at = 0; at < rows.size(); ++at) {
    out += rows[at];
    for (const Column& c : columns)
      out +=
          fmt::format(",{:.8g},{:.8g},{:.8g}", c.next.middle[at], c.next.low[at], c.next.high[at]);
    out += '\n';
  }
  return out;
}

std::string as_json(const Model& model,
                    const std::vector<Column>& columns,
                    const std::vector<std::string>& names,
                    const ForecastOptions& options) {
  JsonWriter json;
  json.begin_object().field("headscope", HEADSCOPE_VERSION).field("verb", "run");
  json.field("model", model.name()).field("rows", options.rows).field("paths", options.paths);
  json.key("names").begin_array();
  for (const std::string& name : names) json.value(name);
  json.end_array().key("columns").begin_array();
  for (const Column& c : columns) {
    json.begin_object().field("name", clean(c.name)).array<double>("middle", c.next.middle);
    json.array<double>("low", c.next.low).array<double>("high", c.next.high);
    json.field("period", c.period).field("held", c.held);
    json.field("error", c.error).field("baseline", c.baseline).end_object();
  }
  json.end_array().end_object();
  return std::move(json).take();
}

// A line a row, and what became of the last rows.
std::string shown(const Screen& screen,
                  const Column& c,
                  const std::vector<std::string>& names,
                  const ForecastOptions& options) {
  int width = 5;  // of the heading
  for (const std::string& name : names) width = std::max(width, cli::columns(name));
  std::string out = paint(screen, Paint::kTitle, clip(clean(c.name), screen.width)) + '\n';
  out += "  " + spaces(width - 5) +
         say(screen.lang, Word::kForecastHead, 100.0 * options.inside, options.paths) + '\n';
  for (std::size_t at = 0; at < names.size(); ++at) {
    out +=
        "  " + right(names[at], width) +
        fmt::format(
            "  {:>12.6g}   {:.6g} .. {:.6g}\n", c.next.middle[at], c.next.low[at], c.next.high[at]);
  }
  if (c.held < 1) return out;
  const std::string simple = fmt::format("{:.4g}", c.baseline);
  std::string held = say(screen.lang, Word::kForecastHeld, c.held, fmt::format("{:.4g}", c.error)) +
                     (c.period > 1 ? say(screen.lang, Word::kForecastPeriod, c.period, simple)
                                   : say(screen.lang, Word::kForecastLast, simple));
  if (c.error > c.baseline) held += say(screen.lang, Word::kForecastWorse);
  return out + "  " + wrap(held, screen.width, 2) + '\n';
}

int go_on_table(const Call& call,
                const Model& model,
                const NumberCode& code,
                const std::string& path,
                const RunWishes& wishes,
                const GoOnWishes& more,
                std::string& out) {
  const Lang lang = call.screen.lang;
  if (sniff(path) != MediaKind::kText) wrong_kind(call, Word::kRunReadsTable, path);
  const Table table = read_csv(path);
  ForecastOptions options;
  // At least half of the positions are for what is known.
  if (more.tokens_given)
    options.rows = check_range(call, "-n", wishes.generate.most, 1, model.positions() / 2);
  if (wishes.generate.sampling.seed != 0) options.seed = wishes.generate.sampling.seed;
  const std::vector<std::size_t> asked = columns_of(table, more.columns);
  for (const std::size_t c : asked) {
    const Table::Column& column = table.columns[c];
    const auto n = std::count_if(
        column.values.begin(), column.values.end(), [](double x) { return std::isfinite(x); });
    if (n < 2)
      throw Error(ErrorCode::kInput,
                  say(lang, Word::kColumnTooShort, clean(path), clean(kept_name(column.name)), n));
  }
  std::vector<Column> columns;
  {
    const Progress progress(lang, say(lang, Word::kRunning, clean(path)));
    for (const std::size_t c : asked)
      columns.push_back(column_of(model, code, table.columns[c], options));
  }
  const std::vector<std::string> names = names_after(table, options.rows);
  if (!more.output.empty()) write_file(more.output, std::string_view(as_csv(columns, names)));
  if (call.json) {
    out += as_json(model, columns, names, options);
    return 0;
  }
  for (const Column& c : columns) out += shown(call.screen, c, names, options);
  if (!more.output.empty()) out += "  " + say(lang, Word::kWrote, clean(more.output)) + '\n';
  return 0;
}

}  // namespace

SequenceCode code_beside(const Model& model) {
  const std::filesystem::path described = model.folder() / "media.json";
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(described, ignored)) return {};
  return SequenceCode::read(described);
}

int go_on(const Call& call,
          const Model& model,
          const SequenceCode& code,
          const std::string& path,
          RunWishes wishes,
          const GoOnWishes& more,
          std::string& out) {
  if (code.numbers && (more.perplexity || more.temperature_given)) {
    throw Error(ErrorCode::kUnsupported,
                say(call.screen.lang,
                    Word::kRunNoTalk,
                    more.perplexity ? "--perplexity" : "--temperature",
                    clean(model.name())));
  }
  check_files(call, code.notes.has_value(), path, more.output);
  if (code.notes) return go_on_tune(call, model, *code.notes, path, std::move(wishes), more, out);
  return go_on_table(call, model, *code.numbers, path, wishes, more, out);
}

}  // namespace headscope::cli
