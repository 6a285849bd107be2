#include "cli/walk.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "cli/arguments.h"
#include "cli/labels.h"
#include "cli/progress.h"
#include "cli/signals.h"
#include "cli/subject.h"
#include "headscope/error.h"
#include "headscope/report.h"
#include "headscope/table.h"

namespace headscope::cli {

namespace {
struct Options {
  std::vector<std::string> words;
  std::string layer, head, row, html;
  bool truncate = false;
};

struct Wanted {
  HeadId head;
  std::filesystem::path html;
};

std::vector<float> copy(View<const float, 1> row) {
  std::vector<float> out;
  for (std::int64_t i = 0; i < row.shape[0]; ++i) out.push_back(row(i));
  return out;
}

double length(View<const float, 1> row) {
  double sum = 0.0;
  for (std::int64_t i = 0; i < row.shape[0]; ++i) {
    sum += static_cast<double>(row(i)) * static_cast<double>(row(i));
  }
  return std::sqrt(sum);
}

double dot(View<const float, 1> a, View<const float, 1> b) {
  double sum = 0.0;
  for (std::int64_t i = 0; i < a.shape[0]; ++i) {
    sum += static_cast<double>(a(i)) * static_cast<double>(b(i));
  }
  return sum;
}

bool is_bent(const FocusOptions& options) {
  return options.bias.data != nullptr || options.slopes.data != nullptr || options.softcap != 0.0F;
}

// --head is H, or L.H, which then says the layer too.
Wanted read_options(const Call& call, const Options& o) {
  Wanted out;
  const bool both = o.head.find('.') != std::string::npos;
  if (both) {
    out.head = parse_head(call, "--head", o.head);
  } else if (!o.head.empty()) {
    out.head.head = static_cast<int>(parse_integer(call, "--head", o.head, 0, 1'000'000));
  }
  if (!o.layer.empty()) {
    const auto layer = static_cast<int>(parse_integer(call, "--layer", o.layer, 0, 1'000'000));
    if (both && layer != out.head.layer) {
      throw Error(ErrorCode::kUsage,
                  say(call.screen.lang,
                      Word::kExpectedFound,
                      call.verb,
                      "--layer",
                      std::to_string(out.head.layer),
                      o.layer));
    }
    out.head.layer = layer;
  }
  out.html = o.html;
  if (!out.html.empty()) check_writable(call, out.html);
  return out;
}

// Tokens of an input that is no text which a screen in either language, or JSON, calls so; a row of
// a table by its bare name too.
std::vector<std::int64_t> called(const Sighting& sighting, const std::string& word) {
  const std::string wanted = folded(clean(word));
  const std::string wanted_row = folded(clean(kept_name(word)));
  const auto same = [&](const std::string& name) { return folded(clean(name)) == wanted; };
  const auto& rows = sighting.scene.rows;
  std::vector<std::int64_t> out;
  for (std::size_t i = 0; i < sighting.labels.size(); ++i) {
    const Label& label = sighting.labels[i];
    bool hit = same(label.text);
    for (const Lang lang : {Lang::kEn, Lang::kRu}) {
      hit = hit || same(full_label(lang, sighting, label)) ||
            same(short_label(lang, sighting, label));
    }
    const auto row = static_cast<std::size_t>(label.row);
    const bool in_table = sighting.scene.kind == Scene::Kind::kTable && label.row >= 0;
    if (in_table && row < rows.size() && !hit) {
      hit = folded(clean(rows[row])) == wanted_row;
      const auto column = static_cast<std::size_t>(label.column);  // a cell as the page calls it
      if (label.column >= 0 && column < sighting.scene.names.size())
        hit = hit || same(rows[row] + ' ' + sighting.scene.names[column]);
    }
    if (hit) out.push_back(static_cast<std::int64_t>(i));
  }
  return out;
}

// "9, 73, 137, …"
std::string some_of(const std::vector<std::int64_t>& tokens) {
  constexpr std::size_t kMost = 8;
  std::string out;
  for (std::size_t n = 0; n < std::min(tokens.size(), kMost); ++n)
    out += (n > 0 ? ", " : "") + std::to_string(tokens[n]);
  return tokens.size() > kMost ? out + ", …" : out;
}

std::string role_of(const Model& model, HeadId id, Lang lang) {
  for (const Role& role : model.roles()) {
    if (role.layer == id.layer && role.head == id.head)
      return lang == Lang::kRu ? role.ru : role.en;
  }
  return "";
}

void write_page(const Call& call,
                const Subject& subject,
                const Run& run,
                const Wanted& wanted,
                std::int64_t row) {
  Report report;
  report.model = &subject.model;
  report.sighting = &run.sighting;
  report.trace_layers = {wanted.head.layer};
  report.traces = &run.traces;
  report.layer = wanted.head.layer;
  report.head = wanted.head.head;
  report.row = row;  // the page and the terminal follow the same one
  report.view = "walk";
  report.language = call.screen.lang == Lang::kRu ? "ru" : "en";
  const Writing writing;
  write_report(report, wanted.html);
}
}  // namespace

Walked walk_row(Lang lang,
                const Sighting& sighting,
                const AttentionTrace& trace,
                const Tensor& by_head,
                double error,
                HeadId id,
                std::int64_t row) {
  Walked w;
  const auto q = trace.q.view<float, 4>()[0];
  const auto k = trace.k.view<float, 4>()[0];
  const auto v = trace.v.view<float, 4>()[0];
  const auto z = trace.z.view<float, 4>()[0];
  w.model = sighting.model;
  w.text = sighting.text;
  w.labels = sighting.labels;
  for (const Label& label : w.labels) w.names.push_back(short_label(lang, sighting, label));
  w.row_name = full_label(lang, sighting, w.labels.at(static_cast<std::size_t>(row)));
  w.head = id;
  w.row = row;
  w.heads = q.shape[0];
  w.groups = k.shape[0];
  w.width = q.shape[2];
  w.value_width = v.shape[2];
  const std::int64_t group = id.head / (w.heads / w.groups);
  const auto x = trace.x.view<float, 3>()[0];
  w.model_width = x.shape[1];
  w.scale = trace.options.scale ? static_cast<double>(*trace.options.scale)
                                : 1.0 / std::sqrt(static_cast<double>(w.width));
  w.bent = is_bent(trace.options);
  w.x = copy(x[row]);
  w.q = copy(q[id.head][row]);
  w.k = copy(k[group][row]);
  w.v = copy(v[group][row]);
  w.z = copy(z[id.head][row]);
  w.lse = static_cast<double>(trace.lse.view<float, 3>()(0, id.head, row));
  w.weights.resize(static_cast<std::size_t>(k.shape[1]));
  sighting.layers.at(static_cast<std::size_t>(id.layer)).row(0, id.head, row, w.weights);
  for (std::int64_t j = 0; j < k.shape[1]; ++j) {
    const double weight = static_cast<double>(w.weights[static_cast<std::size_t>(j)]);
    const double plain = w.scale * dot(q[id.head][row], k[group][j]);
    w.scores.push_back(static_cast<float>(w.bent ? std::log(weight) + w.lse : plain));
  }
  const auto parts = by_head.view<float, 4>();
  for (std::int64_t h = 0; h < w.heads; ++h) {
    w.findings.push_back(length(z[h][row]));
    w.contributions.push_back(length(parts[h][0][row]));
  }
  w.out = copy(trace.out.view<float, 3>()[0][row]);
  w.error = error;
  return w;
}

std::int64_t find_row(const Screen& screen,
                      const Sighting& sighting,
                      const std::string& word,
                      std::string_view verb) {
  const auto tokens = static_cast<std::int64_t>(sighting.labels.size());
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number);
  const bool numeric = error == std::errc() && end == word.data() + word.size();
  if (numeric && number >= 0 && number < tokens) return number;
  const bool of_text = sighting.scene.kind == Scene::Kind::kText;
  if (of_text) {
    const std::string wanted = folded(word);
    for (const auto& candidate : sighting.words()) {
      if (folded(candidate.text) == wanted) return candidate.first;
    }
    for (std::size_t i = 0; i < sighting.labels.size(); ++i) {
      if (folded(sighting.labels[i].text) == wanted) return static_cast<std::int64_t>(i);
    }
  }
  const auto found = of_text ? std::vector<std::int64_t>() : called(sighting, word);
  if (found.size() == 1) return found.front();
  if (found.size() > 1) {
    const std::string many =
        counted(screen.lang, Word::kTokens, static_cast<std::int64_t>(found.size()));
    throw Error(
        ErrorCode::kRange,
        say(screen.lang, Word::kSeveralRows, verb, "«" + clean(word) + "»", many, some_of(found)));
  }
  throw Error(ErrorCode::kRange, say(screen.lang, Word::kNoSuchRow, verb, tokens - 1, clean(word)));
}

int walk(std::span<const std::string> arguments, Lang lang, std::string& out) {
  Options o;
  Parser parser("walk", lang);
  parser.positionals(o.words);
  parser.option("--layer", o.layer);
  parser.option("--head", o.head);
  parser.option("--row,--token", o.row);
  parser.option("--html,-o", o.html);
  parser.flag("--truncate", o.truncate);
  const Call call = parser.parse(arguments);
  if (call.help) {
    out += text(lang, Word::kHelpWalk);
    return 0;
  }
  const Wanted wanted = read_options(call, o);
  Subject subject = prepare(call, o.words, InputWishes{{}, {}, {}, o.truncate});
  check_layer(call, subject.model, wanted.head.layer);
  check_head(call, subject.model, wanted.head);
  check_passed(call, subject, wanted.head.layer);

  const Progress progress(
      lang,
      say(lang,
          Word::kRunning,
          counted(lang, Word::kTokens, static_cast<std::int64_t>(subject.labels.size()))));
  const Sight sight = Sight::everything();
  RunOptions options;
  options.sight = &sight;
  options.trace_layers = {wanted.head.layer};
  Run run = subject.model.run(subject.tokens, options);
  run.sighting.text = subject.text;
  run.sighting.labels = subject.labels;
  if (!subject.layers.empty())  // of a layer that looks at parts of a picture: its first part
    run.sighting.labels = subject.model.labels(subject.tokens, wanted.head.layer);
  run.sighting.scene = std::move(subject.scene);  // elements are called as `see` calls them
  run.sighting.model = subject.model.name();
  const auto middle = static_cast<std::int64_t>(run.sighting.labels.size()) / 2;
  const std::int64_t row =
      o.row.empty() ? middle : find_row(call.screen, run.sighting, o.row, call.verb);
  const AttentionTrace& trace = run.traces.at(0);
  const Contributions parts = contributions(subject.model, wanted.head.layer, trace);
  Walked walked = walk_row(lang, run.sighting, trace, parts.by_head, parts.error, wanted.head, row);
  walked.role = role_of(subject.model, wanted.head, lang);
  // The page of a picture's walk shows the rows of one layer, which may be a part of it.
  if (!subject.layers.empty()) run.sighting.scene = {};
  if (!wanted.html.empty()) write_page(call, subject, run, wanted, row);
  out += call.json ? walk_json(walked) : render_walk(call.screen, walked);
  for (const std::string& remark : subject.remarks)
    out += call.json ? "" : "  " + wrap(remark, call.screen.width, 2) + '\n';
  if (!call.json && !wanted.html.empty()) {
    out += "  " + say(lang, Word::kWrote, clean(wanted.html.string())) + '\n';
  }
  return 0;
}

}  // namespace headscope::cli
