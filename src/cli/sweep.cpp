#include "architect/sweep.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <map>

#include "architect/chart.h"
#include "cli/app.h"
#include "cli/arguments.h"
#include "cli/json_writer.h"
#include "cli/progress.h"
#include "cli/train_watch.h"
#include "doctor/syntax.h"
#include "headscope/error.h"
#include "headscope/safetensors.h"
#include "train/hold.h"

/// `headscope sweep`: one recipe with other heads, groups and widths, quality against cost.
namespace headscope::cli {

namespace {

namespace fs = std::filesystem;
using architect::Spread;
using architect::SweepGroup;
using architect::SweepOptions;
using architect::SweepRun;

/// Fewer edges than these say nothing.
constexpr std::int64_t kLeastEdges = 50;

/// Of runs that could look at no sentence of the treebanks, by their keys: how many there were.
using Unread = std::map<std::string, std::int64_t>;

std::vector<train::Score> syntax_scores(const Call& call,
                                        const fs::path& folder,
                                        const std::vector<conllu::Sentence>& sentences,
                                        const std::string& name,
                                        Unread& unread) {
  Progress progress(call.screen.lang, name);
  const Model model = Model::load(folder.string());
  doctor::SyntaxOptions options;
  options.progress = [&](std::int64_t done, std::int64_t count) {
    progress.now(name + ": " + say(call.screen.lang, Word::kSyntaxProgress, done, count));
  };
  const doctor::Syntax found = doctor::syntax(model, sentences, options);
  if (found.sentences == 0) unread[name] = found.skipped;
  std::vector<train::Score> out;
  for (const doctor::Edges& edges : found.edges) {
    if (edges.n < 1) continue;
    const std::size_t best = edges.best();
    const auto H = static_cast<std::size_t>(std::max(1, found.heads_per_layer()));
    const bool up = edges.looks == doctor::Looks::kAtHead;
    out.push_back({fmt::format("{} {}", edges.relation, up ? "at_head" : "at_dependent"),
                   edges.accuracy(best),
                   edges.baseline(),
                   edges.n,
                   fmt::format("{}.{}", best / H, best % H)});
  }
  return out;
}

// --- What is shown

std::string sizes_of(const SweepGroup& g, bool widths, bool groups) {
  std::string out = std::to_string(g.heads);
  if (groups) out += fmt::format("/{}", g.groups);
  if (widths) out += fmt::format(" x{}", g.width);
  return out;
}

struct Varied {
  bool widths = false, groups = false;
};

Varied varied(const std::vector<SweepGroup>& all) {
  Varied out;
  for (const SweepGroup& g : all) {
    out.widths = out.widths || g.width != all.front().width;
    out.groups = out.groups || g.groups != g.heads;
  }
  return out;
}

std::string within(const Spread& s, int digits) {
  if (!(s.low < s.high)) return fmt::format("{:.{}f}", s.mean, digits);
  return fmt::format("{:.{}f} ±{:.{}f}", s.mean, digits, s.high - s.mean, digits);
}

/// "41.2" for .412.
std::string percent(double part) {
  return std::isfinite(part) ? fmt::format("{:.1f}", 100.0 * part) : "-";
}

/// Relations that there are enough edges of.
std::vector<std::string> relations(const std::vector<SweepGroup>& all) {
  std::vector<std::string> out;
  for (const SweepGroup& group : all) {
    if (!out.empty()) break;
    for (const auto& score : group.scores) {
      if (score.n >= kLeastEdges) out.push_back(score.name);
    }
  }
  return out;
}

const SweepGroup::Score* find(const SweepGroup& group, const std::string& name) {
  for (const auto& score : group.scores) {
    if (score.name == name) return &score;
  }
  return nullptr;
}

/// Hits of the best fixed distance of a relation, 0..1.
double base_of(const std::vector<SweepGroup>& all, const std::string& name) {
  for (const SweepGroup& group : all) {
    if (const auto* score = find(group, name); score != nullptr) return score->baseline;
  }
  return NAN;
}

/// Mean over the relations, what one figure can say of all of them; no number where some are missing.
Spread all_relations(const SweepGroup& group, const std::vector<std::string>& names) {
  Spread out;
  for (const std::string& name : names) {
    const auto* score = find(group, name);
    out.mean += (score == nullptr ? NAN : score->value.mean) / static_cast<double>(names.size());
  }
  out.low = out.high = out.mean;
  return out;
}

/// The same of the best fixed distances: what all of them reach without a head.
double all_bases(const std::vector<SweepGroup>& all, const std::vector<std::string>& names) {
  double out = 0.0;
  for (const std::string& name : names)
    out += base_of(all, name) / static_cast<double>(names.size());
  return out;
}

std::vector<std::vector<std::string>> table_of(Lang lang, const std::vector<SweepGroup>& all) {
  const std::vector<std::string> names = relations(all);
  std::vector<std::vector<std::string>> out;
  std::vector<std::string> head;
  for (const Word word : {Word::kPlanColumnHeads,
                          Word::kPlanColumnGroups,
                          Word::kSweepColumnWidth,
                          Word::kPlanColumnParameters,
                          Word::kSweepColumnLoss,
                          Word::kSweepColumnAccuracy,
                          Word::kSweepColumnSpeed})
    head.emplace_back(text(lang, word));
  if (!names.empty()) head.emplace_back(text(lang, Word::kSweepColumnSyntax));
  out.push_back(std::move(head));
  for (const SweepGroup& g : all) {
    Spread correct = g.accuracy;
    for (double* x : {&correct.mean, &correct.low, &correct.high}) *x *= 100.0;
    std::vector<std::string> row = {std::to_string(g.heads),
                                    std::to_string(g.groups),
                                    std::to_string(g.width),
                                    large(g.parameters),
                                    within(g.loss, 4),
                                    within(correct, 1),
                                    fmt::format("{:.0f}", g.speed.mean)};
    if (!names.empty()) row.push_back(percent(all_relations(g, names).mean));
    out.push_back(std::move(row));
  }
  return out;
}

std::vector<std::vector<std::string>> syntax_table(Lang lang, const std::vector<SweepGroup>& all) {
  const Varied v = varied(all);
  std::vector<std::vector<std::string>> out;
  std::vector<std::string> head = {std::string(text(lang, Word::kSyntaxRelation)), "n"};
  head.emplace_back(text(lang, Word::kSyntaxBaseline));
  for (const SweepGroup& g : all) head.push_back(sizes_of(g, v.widths, v.groups));
  out.push_back(std::move(head));
  const std::vector<std::string> names = relations(all);
  for (const std::string& name : names) {
    const SweepGroup::Score* first = nullptr;
    for (const SweepGroup& g : all) first = first == nullptr ? find(g, name) : first;
    const std::size_t gap = name.find(' ');
    const Word looks = name.ends_with("at_head") ? Word::kSyntaxAtHead : Word::kSyntaxAtDependent;
    std::vector<std::string> row = {name.substr(0, gap) + ' ' + std::string(text(lang, looks)),
                                    std::to_string(first->n),
                                    fmt::format("{:.1f}", 100.0 * first->baseline)};
    for (const SweepGroup& g : all) {
      const auto* score = find(g, name);
      row.push_back(score == nullptr ? "-" : percent(score->value.mean));
    }
    out.push_back(std::move(row));
  }
  if (names.size() < 2) return out;
  std::vector<std::string> mean = {
      std::string(text(lang, Word::kSweepMean)), "", percent(all_bases(all, names))};
  for (const SweepGroup& g : all) mean.push_back(percent(all_relations(g, names).mean));
  out.push_back(std::move(mean));
  return out;
}

std::string lines_of(const std::vector<std::vector<std::string>>& table, int first) {
  std::vector<int> widths(table.front().size(), 0);
  for (const auto& row : table) {
    for (std::size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], columns(row[c]));
  }
  std::string out;
  for (const auto& row : table) {
    std::string line = " ";
    for (std::size_t c = 0; c < row.size(); ++c) {
      const bool at_left = static_cast<int>(c) < first;
      line += ' ' + (at_left ? left(row[c], widths[c]) : right(row[c], widths[c])) + ' ';
    }
    out += trimmed(line) + '\n';
  }
  return out;
}

/// Where each mean lies between the best and the worst, its interval around it.
std::string loss_bars(const Call& call, const std::vector<SweepGroup>& all) {
  double low = std::numeric_limits<double>::infinity();
  double high = -low;
  for (const SweepGroup& g : all) {
    low = std::min(low, g.loss.low);
    high = std::max(high, g.loss.high);
  }
  if (!(high > low)) return "";
  const Varied v = varied(all);
  const int room = std::clamp(call.screen.width - 24, 20, 60);
  std::string out = fmt::format("  {}{}\n",
                                left(text(call.screen.lang, Word::kPlanColumnHeads), 12),
                                text(call.screen.lang, Word::kSweepBars));
  const auto at = [&](double x) {
    return static_cast<int>(std::lround((x - low) / (high - low) * (room - 1)));
  };
  for (const SweepGroup& g : all) {
    std::string line(static_cast<std::size_t>(room), ' ');
    for (int i = at(g.loss.low); i <= at(g.loss.high); ++i) line[static_cast<std::size_t>(i)] = '-';
    line[static_cast<std::size_t>(at(g.loss.mean))] = 'o';
    out += trimmed("  " + left(sizes_of(g, v.widths, v.groups), 12) + line) + '\n';
  }
  return out + fmt::format("  {}{}{}\n",
                           spaces(12),
                           left(fmt::format("{:.4f}", low), room - 6),
                           fmt::format("{:.4f}", high));
}

std::vector<architect::Panel> panels_of(Lang lang, const std::vector<SweepGroup>& all) {
  const Varied v = varied(all);
  std::vector<architect::Panel> out;
  const auto mark = [&](const SweepGroup& g, double x, const Spread& y) {
    return architect::Mark{x, y.mean, y.low, y.high, sizes_of(g, v.widths, v.groups)};
  };
  const auto panel = [&](Word title, Word x, Word y) -> architect::Panel& {
    architect::Panel p;
    p.title = text(lang, title);
    p.x = text(lang, x);
    p.y = text(lang, y);
    return out.emplace_back(std::move(p));
  };
  const Word heads = v.groups ? Word::kPlanAxis : Word::kPlanColumnHeads;
  architect::Line loss, cost;
  for (const SweepGroup& g : all) {
    loss.marks.push_back(mark(g, 0.0, g.loss));
    cost.marks.push_back(mark(g, g.speed.mean > 0.0 ? 1e6 / g.speed.mean : 0.0, g.loss));
  }
  panel(Word::kSweepByHeads, heads, Word::kPlotLoss).lines = {loss};
  architect::Panel& by_cost = panel(Word::kSweepByCost, Word::kSweepCost, Word::kPlotLoss);
  by_cost.lines = {cost};
  by_cost.names = by_cost.joined = false;
  const std::vector<std::string> names = relations(all);
  if (names.empty()) return out;
  architect::Panel& syntax = panel(Word::kSweepBySyntax, heads, Word::kSweepPercent);
  for (const char* name : {"nsubj at_head", "obj at_head", "iobj at_head", "amod at_head"}) {
    if (std::find(names.begin(), names.end(), name) == names.end()) continue;
    architect::Line line;
    line.name = std::string(name, std::string_view(name).find(' '));
    line.base = 100.0 * base_of(all, name);
    line.base_name = say(lang, Word::kSweepBaseOf, line.name);
    for (const SweepGroup& g : all) {
      const auto* score = find(g, name);
      Spread s = score == nullptr ? Spread{NAN, 0.0, 0.0} : score->value;
      for (double* x : {&s.mean, &s.low, &s.high}) *x *= 100.0;
      line.marks.push_back(mark(g, 0.0, s));
    }
    syntax.lines.push_back(std::move(line));
  }
  architect::Line mean;
  mean.name = text(lang, Word::kSweepMean);
  mean.base = 100.0 * all_bases(all, names);
  mean.base_name = say(lang, Word::kSweepBaseOf, mean.name);
  for (const SweepGroup& g : all) {
    const double x = 100.0 * all_relations(g, names).mean;
    mean.marks.push_back(mark(g, 0.0, {x, x, x}));
  }
  if (syntax.lines.empty()) syntax.lines.push_back(std::move(mean));
  return out;
}

void write_pictures(Lang lang, const fs::path& folder, const std::vector<SweepGroup>& all) {
  if (all.empty()) return;
  const std::vector<architect::Panel> panels = panels_of(lang, all);
  const std::string svg = architect::chart_svg(panels);
  write_file(folder / "sweep.svg", std::string_view(svg));
  auto table = table_of(lang, all);
  if (!relations(all).empty()) {
    for (auto& row : syntax_table(lang, all)) table.push_back(std::move(row));
  }
  write_file(folder / "sweep.html",
             std::string_view(
                 architect::chart_page(say(lang, Word::kSweepTitle, folder.filename().string()),
                                       lang == Lang::kRu ? "ru" : "en",
                                       svg,
                                       table,
                                       text(lang, Word::kSweepNote))));
}

void write_spread(JsonWriter& json, const char* key, const Spread& s) {
  json.key(key).begin_object().field("mean", s.mean).field("low", s.low).field("high", s.high);
  json.end_object();
}

void write_json(std::string& out,
                const std::vector<SweepRun>& runs,
                const std::vector<SweepGroup>& all,
                const Unread& unread) {
  JsonWriter json;
  json.begin_object().field("headscope", HEADSCOPE_VERSION).field("verb", "sweep");
  json.key("groups").begin_array();
  for (const SweepGroup& g : all) {
    json.begin_object().field("heads", g.heads).field("groups", g.groups).field("width", g.width);
    json.field("parameters", g.parameters).field("seeds", static_cast<std::int64_t>(g.seeds));
    write_spread(json, "loss", g.loss);
    write_spread(json, "accuracy", g.accuracy);
    write_spread(json, "train_tokens_per_second", g.speed);
    json.key("scores").begin_array();
    for (const auto& score : g.scores) {
      json.begin_object().field("name", score.name).field("n", score.n);
      json.field("baseline", score.baseline);
      write_spread(json, "value", score.value);
      json.end_object();
    }
    json.end_array().end_object();
  }
  json.end_array().key("runs").begin_array();
  for (const SweepRun& run : runs) {
    json.begin_object().field("name", run.key).field("heads", run.heads);
    json.field("groups", run.groups).field("width", run.width);
    json.field("seed", static_cast<std::int64_t>(run.seed)).field("loss", run.loss);
    json.field("accuracy", run.accuracy).field("tokens", run.tokens);
    json.field("seconds", run.seconds);
    if (const auto found = unread.find(run.key); found != unread.end()) {
      json.key("syntax").begin_object().field("sentences", 0);
      json.field("skipped", found->second).end_object();
    }
    json.end_object();
  }
  json.end_array().end_object();
  out += std::move(json).take();
}

void write_text(std::string& out,
                const Call& call,
                const std::vector<SweepGroup>& all,
                const Unread& unread,
                const fs::path& folder) {
  const Lang lang = call.screen.lang;
  out += paint(call.screen,
               Paint::kTitle,
               say(lang, Word::kSweepTitle, clean(folder.filename().string()))) +
         '\n';
  out += lines_of(table_of(lang, all), 0) + '\n' + loss_bars(call, all);
  if (!relations(all).empty()) out += '\n' + lines_of(syntax_table(lang, all), 1);
  if (!unread.empty()) {
    const std::string sentences = counted(lang, Word::kSentences, unread.begin()->second);
    out += "  " + wrap(say(lang, Word::kSweepUnread, sentences), call.screen.width, 2) + '\n';
  }
  out += "  " + wrap(text(lang, Word::kSweepNote), call.screen.width, 2) + '\n';
}

// --- The verb

struct Asked {
  std::vector<std::string> recipe, treebanks;
  std::string data, output, heads, groups, widths, seeds, tokens;
};

SweepOptions options_of(const Call& call, const Asked& asked) {
  if (asked.recipe.size() != 1 || asked.output.empty()) {
    throw Error(
        ErrorCode::kUsage,
        say(call.screen.lang,
            Word::kSweepNeeds,
            counted(
                call.screen.lang, Word::kSaidWords, static_cast<std::int64_t>(asked.recipe.size())),
            asked.output.empty() ? "-" : clean(asked.output)));
  }
  SweepOptions out;
  out.recipe = asked.recipe.front();
  out.data = asked.data;
  out.folder = asked.output;
  out.cache = text_cache();
  const auto list = [&](const char* option, const std::string& words, std::int64_t most) {
    return words.empty() ? std::vector<std::int64_t>()
                         : parse_integers(call, option, words, 1, most);
  };
  out.heads = list("--heads", asked.heads, 65536);
  out.groups = list("--groups", asked.groups, 65536);
  out.widths = list("--widths", asked.widths, 1 << 20);
  if (!asked.seeds.empty())
    out.seeds = static_cast<int>(parse_integer(call, "--seeds", asked.seeds, 1, 1000));
  if (!asked.tokens.empty())
    out.tokens = parse_integer(call, "--tokens", asked.tokens, 1, std::int64_t{1} << 50);
  return out;
}

std::vector<conllu::Sentence> sentences_of(const std::vector<std::string>& files) {
  std::vector<conllu::Sentence> out;
  for (const std::string& file : files) {
    for (conllu::Sentence& sentence : conllu::load(file)) out.push_back(std::move(sentence));
  }
  return out;
}

/// Whether all runs are done; the pictures follow each of them.
bool make_all(const Call& call,
              const SweepOptions& options,
              std::vector<SweepRun>& runs,
              const std::vector<conllu::Sentence>& sentences,
              Unread& unread) {
  const Lang lang = call.screen.lang;
  for (std::size_t n = 0; n < runs.size(); ++n) {
    SweepRun& run = runs[n];
    if (!run.done) {
      TrainWatch watch(lang, run.key);
      std::int64_t step = 0;
      const auto report = [&](const architect::SweepReport& r) {
        step = r.now.step;
        const std::string left_of_all =
            r.seconds_left > 0.0 ? duration(lang, r.seconds_left) : std::string("-");
        watch.show(r.now, say(lang, Word::kSweepAlso, run.key, r.run + 1, r.runs, left_of_all));
      };
      if (!architect::make_run(options, runs, n, report, [] { return signal_waits(); })) {
        watch.stopped(step, run.recipe.schedule.steps, Word::kSweepStopped);
        return false;
      }
    }
    if (!sentences.empty() && run.scores.empty()) {
      architect::keep_scores(
          options, run, syntax_scores(call, options.folder / run.key, sentences, run.key, unread));
    }
    write_pictures(lang, options.folder, architect::groups_of(runs));
  }
  return true;
}

}  // namespace

int sweep(std::span<const std::string> arguments, Lang lang, std::string& out) {
  Asked asked;
  Parser parser("sweep", lang);
  parser.positionals(asked.recipe);
  parser.option("-o,--output", asked.output);
  parser.option("--data", asked.data);
  parser.option("--heads", asked.heads);
  parser.option("--groups", asked.groups);
  parser.option("--widths", asked.widths);
  parser.option("--seeds", asked.seeds);
  parser.option("--tokens", asked.tokens);
  parser.repeated("--syntax", asked.treebanks);
  const Call call = parser.parse(arguments);
  if (call.help) {
    out += text(lang, Word::kHelpSweep);
    return 0;
  }
  const SweepOptions options = options_of(call, asked);
  const std::vector<conllu::Sentence> sentences = sentences_of(asked.treebanks);
  const train::FolderHold hold(options.folder, "sweep");
  std::vector<SweepRun> runs = architect::plan_sweep(options);
  Unread unread;
  if (!make_all(call, options, runs, sentences, unread)) return 130;
  const std::vector<SweepGroup> all = architect::groups_of(runs);
  if (call.json)
    write_json(out, runs, all, unread);
  else
    write_text(out, call, all, unread, options.folder);
  return 0;
}

}  // namespace headscope::cli
