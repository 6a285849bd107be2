#include "cli/see.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <functional>
#include <tuple>

#include "cli/arguments.h"
#include "cli/experiment.h"
#include "cli/input.h"
#include "cli/progress.h"
#include "cli/see_period.h"
#include "cli/sequences.h"
#include "cli/signals.h"
#include "cli/subject.h"
#include "cli/walk.h"
#include "doctor/baseline.h"
#include "formats/json.h"
#include "headscope/report.h"

namespace headscope::cli {

namespace {
// A run this short is repeated to measure what looking costs.
constexpr double kShortMs = 150.0;
constexpr int kRepeats = 3;
// Traces of all layers go into the page when they are this small.
constexpr std::int64_t kSmallTraces = std::int64_t{8} << 20;

struct Options {
  std::vector<std::string> words, heads, zero, mean, scale, outputs, columns;
  std::string html, sight, layer, top, row, as, frames, save;
  bool truncate = false, table = false, maps = false;
};

struct Wanted {
  std::vector<HeadId> heads;
  std::optional<int> layer;
  std::vector<Edit> edits;
  std::filesystem::path html, sight;
};

void declare(Parser& parser, Options& o) {
  parser.positionals(o.words);
  parser.option("--layer", o.layer);
  parser.repeated("--head", o.heads);
  parser.option("--html", o.html);
  parser.option("--sight", o.sight);
  parser.repeated("-o,--output", o.outputs);
  parser.repeated("--zero", o.zero);
  parser.repeated("--mean", o.mean);
  parser.repeated("--scale", o.scale);
  parser.option("--top", o.top);
  parser.option("--row", o.row);
  parser.option("--as", o.as);
  parser.repeated("--column", o.columns);
  parser.option("--frames", o.frames);
  parser.flag("--table", o.table);
  parser.flag("--truncate", o.truncate);
  parser.flag("--maps", o.maps);
  parser.option("--save", o.save);
}

// -o names by its ending what it wants.
void sort_outputs(const Call& call, Options& o) {
  for (const std::string& output : o.outputs) {
    const std::string ending = std::filesystem::path(output).extension().string();
    if (ending == ".html") {
      o.html = output;
    } else if (ending == ".sight") {
      o.sight = output;
    } else {
      throw Error(ErrorCode::kUsage,
                  say(call.screen.lang,
                      Word::kExpectedFound,
                      call.verb,
                      "-o",
                      "NAME.html | NAME.sight",
                      clean(output)));
    }
  }
}

// "120" or "120,5": the first frame, and how many on the next one is.
FrameChoice frames_of(const Call& call, const std::string& text) {
  FrameChoice out;
  if (text.empty()) return out;
  const std::size_t comma = text.find(',');
  constexpr std::int64_t kMost = 1'000'000'000;
  out.first = parse_integer(call, "--frames", text.substr(0, comma), 0, kMost);
  if (comma != std::string::npos)
    out.every = parse_integer(call, "--frames", text.substr(comma + 1), 1, kMost);
  return out;
}

Wanted read_options(const Call& call, Options& o) {
  sort_outputs(call, o);
  if (!o.as.empty() && o.as != "bytes")
    throw Error(ErrorCode::kUsage, say(call.screen.lang, Word::kUnknownAs, call.verb, clean(o.as)));
  Wanted out;
  out.heads = parse_heads(call, "--head", o.heads);
  if (!o.layer.empty()) {
    out.layer = static_cast<int>(parse_integer(call, "--layer", o.layer, 0, 1'000'000));
  }
  out.edits = parse_edits(call, o.zero, o.mean, o.scale);
  if (o.maps && !call.json)
    throw Error(ErrorCode::kUsage, say(call.screen.lang, Word::kMapsNeedJson, call.verb));
  out.html = o.html;
  out.sight = o.sight;
  for (const auto& path : {out.html, out.sight, std::filesystem::path(o.save)}) {
    if (!path.empty()) check_writable(call, path);
  }
  return out;
}

void check_ranges(const Call& call, const Subject& subject, const Wanted& wanted) {
  const Model& model = subject.model;
  if (wanted.layer) {
    check_layer(call, model, *wanted.layer);
    check_passed(call, subject, *wanted.layer);
  }
  for (const HeadId id : wanted.heads) {
    check_head(call, model, id);
    check_passed(call, subject, id.layer);
  }
  for (const Edit& edit : wanted.edits) check_head(call, model, {edit.layer, edit.head});
}

double timed(const std::function<void()>& body) {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  body();
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

// What looking added to a run: best of a few runs of each kind, taken in turn.
void measure_looking(const Subject& subject, const RunOptions& options, Seen& seen) {
  if (!seen.run_ms || *seen.run_ms > kShortMs) return;
  RunOptions blind = options;
  blind.sight = nullptr;
  blind.trace_layers.clear();
  RunOptions looking = options;
  looking.trace_layers.clear();
  double with = *seen.run_ms;
  double without = with;
  for (int i = 0; i < kRepeats; ++i) {
    without = std::min(without, timed([&] { (void)subject.model.run(subject.tokens, blind); }));
    with = std::min(with, timed([&] { (void)subject.model.run(subject.tokens, looking); }));
  }
  seen.run_ms = with;
  seen.looking_ms = with - without;
}

Changed compare(const Subject& subject, const Run& edited, const Run& plain) {
  Changed out;
  if (plain.last_hidden_state.empty()) {  // two towers give an embedding each
    const auto found = plain.more.find("image_embeds");
    if (found == plain.more.end()) return out;
    const auto x = edited.more.at("image_embeds").span<float>();
    const auto y = found->second.span<float>();
    for (std::size_t i = 0; i < x.size(); ++i)
      out.largest =
          std::max(out.largest, std::abs(static_cast<double>(x[i]) - static_cast<double>(y[i])));
    out.cosine = doctor::cosine(x, y);
    out.token = "image_embeds";
    return out;
  }
  const Tensor a = mean_embedding(edited.last_hidden_state, subject.tokens.attention_mask);
  const Tensor b = mean_embedding(plain.last_hidden_state, subject.tokens.attention_mask);
  out.cosine = doctor::cosine(a.span<float>(), b.span<float>());
  const auto x = edited.last_hidden_state.span<float>();
  const auto y = plain.last_hidden_state.span<float>();
  const auto width = static_cast<std::size_t>(edited.last_hidden_state.dim(2));
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double change = std::abs(static_cast<double>(x[i]) - static_cast<double>(y[i]));
    if (change > out.largest || std::isnan(change)) {
      out.largest = change;
      const std::size_t at = i / width;
      const bool labelled = at < subject.labels.size();
      out.token = labelled ? subject.labels[at].text : std::to_string(at);
      out.at = labelled ? static_cast<std::int64_t>(at) : -1;
    }
  }
  return out;
}

// Of an encoder-decoder the page and the tables show the encoder, whose rows and keys are the words.
int layers_shown(const Model& model) {
  return model.encoder_layers() > 0 ? model.encoder_layers() : model.layers();
}

std::vector<int> layers_to_trace(const Subject& subject, const Wanted& wanted) {
  if (wanted.html.empty()) return {};
  const auto tokens = static_cast<std::int64_t>(subject.labels.size());
  const std::int64_t one = 6 * tokens * subject.model.width() * std::int64_t{4};
  std::vector<int> all;
  const int layers = layers_shown(subject.model);
  for (int l = 0; l < layers; ++l) all.push_back(l);
  if (!subject.layers.empty()) all = subject.layers;
  if (one * static_cast<std::int64_t>(all.size()) <= kSmallTraces) return all;
  if (wanted.layer) return {*wanted.layer};
  return {wanted.heads.empty() ? all.front() : wanted.heads.front().layer};
}

// Bytes are not what a model of something else learned its labels from.
bool roles_apply(const Subject& subject) {
  return subject.scene.kind != Scene::Kind::kBytes || code_beside(subject.model).bytes.has_value();
}

Seen facts_of(const Subject& subject, const Wanted& wanted, const Options& o, const Call& call) {
  Seen seen;
  const Model& model = subject.model;
  seen.model = model.name();
  seen.family = model.family();
  seen.layers = layers_shown(model);
  std::tie(seen.fewest, seen.heads) = head_counts(model, seen.layers);
  seen.width = model.width();
  seen.positions = model.positions();
  seen.parameters = model.parameters();
  if (roles_apply(subject)) seen.roles = model.roles();
  if (!subject.tokens.ids.empty()) {
    const auto ids = subject.tokens.ids.span<std::int32_t>();
    seen.ids.assign(ids.begin(), ids.end());
  }
  seen.unknown = subject.unknown;
  seen.tokens_before_cut = subject.tokens_before_cut;
  seen.cut_said = subject.cut_said;
  seen.remarks = subject.remarks;
  seen.edits = wanted.edits;
  seen.large = wanted.heads;
  seen.layer = wanted.layer;
  seen.table = o.table;
  seen.model_argument = subject.model_argument;
  seen.input_argument = subject.input_argument;
  if (!o.as.empty()) seen.input_options += " --as " + o.as;
  for (const std::string& column : o.columns)
    seen.input_options += " --column " + shell_word(column);
  if (!o.frames.empty()) seen.input_options += " --frames " + o.frames;
  seen.walks = seen.input_options.empty();
  if (o.truncate) seen.input_options += " --truncate";
  if (subject.tree) seen.tree = &*subject.tree;
  if (!o.top.empty())
    seen.links = static_cast<std::size_t>(parse_integer(call, "--top", o.top, 1, 32));
  return seen;
}

void write_files(const Call& call,
                 const Subject& subject,
                 const Seen& seen,
                 const Run& run,
                 const RunOptions& options,
                 const Wanted& wanted) {
  if (!wanted.sight.empty()) {
    const Writing writing;
    run.sighting.save(wanted.sight);
  }
  if (wanted.html.empty()) return;
  Report report;
  report.model = &subject.model;
  report.sighting = &run.sighting;
  report.trace_layers = options.trace_layers;
  report.traces = &run.traces;
  report.roles = !seen.roles.empty();
  const int first = subject.layers.empty() ? 0 : subject.layers.front();
  HeadId selected{wanted.layer.value_or(first), 0};
  const Role* job = nullptr;  // open on the first head with a job among words, else with any label
  for (const Role& role : seen.roles) {
    if (wanted.layer && *wanted.layer != role.layer) continue;
    if (job == nullptr || (job->shape != "square" && role.shape == "square")) job = &role;
  }
  if (job != nullptr) selected = {job->layer, job->head};
  if (!wanted.heads.empty()) selected = wanted.heads.front();
  report.layer = selected.layer;
  report.head = selected.head;
  if (seen.row) {
    const FocusRecord& at = run.sighting.layers.at(static_cast<std::size_t>(selected.layer));
    if (at.batch == 1 && at.rows == static_cast<std::int64_t>(run.sighting.labels.size()))
      report.row = *seen.row;
  }
  for (const Role& role : seen.roles) {
    const auto here = shown_here(seen, role);
    report.remarks.emplace_back();
    if (const auto rows = rows_here(run.sighting, role))
      report.remarks.back() = {say_rows_here(Lang::kEn, *rows), say_rows_here(Lang::kRu, *rows)};
    if (!here) continue;
    report.remarks.back() = {say_here(Lang::kEn, *seen.tree, *here),
                             say_here(Lang::kRu, *seen.tree, *here)};
  }
  const Scene::Kind kind = run.sighting.scene.kind;
  if (kind != Scene::Kind::kText && kind != Scene::Kind::kBytes) report.view = "media";
  report.language = call.screen.lang == Lang::kRu ? "ru" : "en";
  const Writing writing;
  write_report(report, wanted.html);
}

// The input: with `again` its text.
Subject read(const Call& call, const Options& o, const Setup* again) {
  if (again != nullptr) {
    const Progress progress(call.screen.lang,
                            say(call.screen.lang, Word::kLoading, clean(o.words.at(0))));
    return prepare(call, Model::load(o.words[0]), o.words[0], again->input, o.truncate);
  }
  Subject out =
      prepare(call, o.words, InputWishes{o.as, o.columns, frames_of(call, o.frames), o.truncate});
  if (!o.save.empty() && out.scene.kind != Scene::Kind::kText)
    throw Error(ErrorCode::kUnsupported,
                say(call.screen.lang,
                    Word::kSaveNeedsText,
                    call.verb,
                    clean(o.as.empty() ? out.input_argument : "--as " + o.as)));
  return out;
}

// Of what --json prints: what edits changed and the statistics of heads, no rows and links.
std::string saved_figures(const Seen& seen) {
  json::Value all = json::parse(see_json(seen, false), "see");
  for (const char* key : {"text", "run_ms", "words", "scene", "unknown_words", "roles"})
    all.erase(key);
  for (json::Value& layer : all["layers"]) {
    for (json::Value& head : layer["heads"]) {
      for (const char* key : {"rows", "top_keys", "top_weights", "column_mass"}) head.erase(key);
    }
  }
  return all.dump();
}

void save(const Call& call, const Options& o, const Subject& subject, const Seen& seen) {
  Experiment done{call.verb, o.words.at(0), {}, "", saved_figures(seen), {}};
  if (!o.layer.empty()) done.arguments.push_back("--layer=" + o.layer);
  for (const std::string& head : o.heads) done.arguments.push_back("--head=" + head);
  if (o.truncate) done.arguments.emplace_back("--truncate");
  done.setup = Setup{subject.text, seen.edits};
  save_experiment(o.save, done);
}

// With `again` MODEL stands alone, and text and edits come from there.
int see_with(std::span<const std::string> arguments,
             Lang lang,
             std::string& out,
             const Setup* again) {
  Options o;
  Parser parser("see", lang);
  declare(parser, o);
  const Call call = parser.parse(arguments);
  if (call.help) {
    out += text(lang, Word::kHelpSee);
    return 0;
  }
  Wanted wanted = read_options(call, o);
  if (again != nullptr) {
    check_edited_once(call, again->edits);
    wanted.edits = again->edits;
  }
  Subject subject = read(call, o, again);
  check_ranges(call, subject, wanted);
  Seen seen = facts_of(subject, wanted, o, call);
  const bool maps = o.maps;
  if (maps && static_cast<std::int64_t>(subject.labels.size()) > kMostMapTokens) {
    throw Error(ErrorCode::kResources,
                say(lang, Word::kTooLongForMaps, call.verb, kMostMapTokens, subject.labels.size()));
  }

  const Progress progress(
      lang,
      say(lang,
          Word::kRunning,
          counted(lang, Word::kTokens, static_cast<std::int64_t>(subject.labels.size()))));
  const Sight sight = Sight::everything();
  RunOptions options;
  options.sight = &sight;
  options.edits = wanted.edits;
  options.trace_layers = layers_to_trace(subject, wanted);
  for (int l = 0; l < subject.model.encoder_layers(); ++l) options.layers.push_back(l);
  Run run;
  seen.run_ms = timed([&] { run = subject.model.run(subject.tokens, options); });
  run.sighting.model = subject.model.name();
  run.sighting.text = subject.text;
  run.sighting.labels = subject.labels;
  if (subject.scene.kind != Scene::Kind::kText) {
    run.sighting.scene = std::move(subject.scene);
    if (!subject.layers.empty()) label_layers(subject.model, subject.tokens, run.sighting);
  }
  if (!o.row.empty()) seen.row = find_row(call.screen, run.sighting, o.row);
  if (!call.json) measure_looking(subject, options, seen);
  if (!wanted.edits.empty())
    seen.changed = compare(subject, run, subject.model.run(subject.tokens));
  seen.sighting = &run.sighting;
  write_files(call, subject, seen, run, options, wanted);
  if (!o.save.empty()) save(call, o, subject, seen);
  out += call.json ? see_json(seen, maps) : render_see(call.screen, seen);
  if (!call.json) {
    for (const auto& path : {wanted.html, wanted.sight, std::filesystem::path(o.save)}) {
      if (!path.empty()) out += "  " + say(lang, Word::kWrote, clean(path.string())) + '\n';
    }
  }
  return 0;
}
}  // namespace

int see(std::span<const std::string> arguments, Lang lang, std::string& out) {
  return see_with(arguments, lang, out, nullptr);
}

int see_again(std::span<const std::string> arguments,
              Lang lang,
              std::string& out,
              const Setup& setup) {
  return see_with(arguments, lang, out, &setup);
}

}  // namespace headscope::cli
