// `headscope doctor roles`: which head does what.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "cli/doctor.h"
#include "cli/json_writer.h"
#include "cli/signals.h"
#include "headscope/error.h"
#include "headscope/safetensors.h"

namespace headscope::cli {

namespace {

struct Options {
  std::vector<std::string> words, columns;
  std::string data, pieces, repeat, seed, html, roles;
};

constexpr int kName = 29;  // columns, a space behind the longest name

/// A name, the heads that earned it (else the nearest one), and what they are compared with.
std::string line(const Screen& screen,
                 std::string_view name,
                 const std::vector<Scored>& heads,
                 const Scored& nearest,
                 const std::string& tail) {
  const int width = screen.width - kName - 4 - columns(tail);
  const std::string found =
      heads.empty()
          ? say(screen.lang, Word::kRolesNone, nearest.head.name() + ' ' + figure(nearest.score))
          : heads_line(heads, width);
  return "  " + left(std::string(name), kName) + left(found, width) + "  " +
         paint(screen, Paint::kDim, tail) + '\n';
}

std::string one_measure(const Screen& screen,
                        std::span<const doctor::HeadRoles> roles,
                        const doctor::MeasureFacts& facts) {
  const Lang lang = screen.lang;
  std::vector<Scored> labelled, all;
  double baseline = 0.0;
  std::int64_t n = 0;
  for (const doctor::HeadRoles& head : roles) {
    const doctor::Score& score = head.of(facts.measure);
    if (std::isnan(score.score)) continue;
    all.push_back({head.id, score.score});
    if (score.label) labelled.push_back(all.back());
    if (doctor::has_baseline(facts.measure)) baseline += score.baseline;
    n = std::max(n, score.n);
  }
  if (all.empty()) return "";
  const bool judged = std::isfinite(facts.least);
  std::string tail;
  if (judged && facts.measure != doctor::Measure::kCopying) {
    tail = doctor::has_baseline(facts.measure)
               ? say(lang, Word::kRolesTail, share(baseline / static_cast<double>(all.size())), n)
               : fmt::format("n {}", n);
  }
  const auto best = std::max_element(
      all.begin(), all.end(), [](const Scored& a, const Scored& b) { return a.score < b.score; });
  return line(screen, text(lang, word_of(facts.measure)), judged ? labelled : all, *best, tail);
}

std::string one_relation(const Screen& screen,
                         const doctor::Syntax& syntax,
                         const doctor::Edges& edges) {
  if (edges.n == 0) return "";
  std::vector<Scored> named;
  for (std::size_t place = 0; place < edges.hits.size(); ++place) {
    if (edges.named(place)) named.push_back({syntax.head(place), edges.accuracy(place)});
  }
  const std::size_t best = edges.best();
  return line(screen,
              relation_name(edges, screen.lang),
              named,
              {syntax.head(best), edges.accuracy(best)},
              say(screen.lang, Word::kRolesTail, share(edges.baseline()), edges.n));
}

std::string render(const Screen& screen,
                   const Model& model,
                   const Corpus& corpus,
                   std::span<const doctor::HeadRoles> roles,
                   const doctor::Syntax& syntax) {
  const Lang lang = screen.lang;
  std::string out =
      fmt::format("{} · {} · {} · {}\n\n",
                  clean(model.name()),
                  model.family(),
                  counted(lang, Word::kHeads, static_cast<std::int64_t>(roles.size())),
                  counted(lang, Word::kTokens, corpus.tokens));
  out +=
      paint(screen, Paint::kTitle, std::string("  ") + std::string(text(lang, Word::kRolesTitle))) +
      '\n';
  for (const doctor::MeasureFacts& facts : doctor::kMeasureFacts)
    out += one_measure(screen, roles, facts);
  if (!syntax.edges.empty())
    out += '\n' + paint(screen, Paint::kTitle, "  " + std::string(text(lang, Word::kSyntaxTitle))) +
           '\n';
  for (const doctor::Edges& edges : syntax.edges) out += one_relation(screen, syntax, edges);
  const auto note = [&](const std::string& line) {
    out += paint(screen, Paint::kDim, "  " + wrap(line, screen.width, 2)) + '\n';
  };
  note(say(lang, Word::kRolesNote, corpus.about(lang)));
  note(std::string(text(lang, model.generates() ? Word::kRolesCausal : Word::kRolesBothWays)));
  if (!syntax.edges.empty())
    note(say(lang,
             Word::kRolesTrees,
             counted(lang, Word::kSentences, syntax.sentences),
             syntax.skipped,
             counted(lang, Word::kEdges, syntax.unaligned)));
  return tidy(out);
}

std::string as_json(const Model& model,
                    const Corpus& corpus,
                    std::span<const doctor::HeadRoles> roles,
                    const doctor::Syntax& syntax) {
  JsonWriter json;
  json.begin_object().field("headscope", HEADSCOPE_VERSION).field("verb", "doctor roles");
  json.field("model", model.name()).field("data", corpus.about(Lang::kEn));
  json.field("tokens", corpus.tokens).key("heads").begin_array();
  for (const doctor::HeadRoles& head : roles) {
    json.begin_object().field("layer", head.id.layer).field("head", head.id.head);
    put_scores(json, head, along_trees(syntax, head.id, Lang::kEn));
    json.end_object();
  }
  json.end_array().end_object();
  return std::move(json).take();
}

void declare(Parser& parser, Options& o) {
  parser.positionals(o.words);
  parser.option("--data", o.data);
  parser.option("--pieces", o.pieces);
  parser.option("--repeat", o.repeat);
  parser.option("--seed", o.seed);
  parser.option("--html", o.html);
  parser.option("--roles", o.roles);
  parser.repeated("--column", o.columns);
}

}  // namespace

bool seen_by(const doctor::Syntax& syntax, doctor::HeadId head) {
  return static_cast<std::size_t>(head.layer) < syntax.heads.size();
}

std::string relation_name(const doctor::Edges& edges, Lang lang) {
  const bool up = edges.looks == doctor::Looks::kAtHead;
  return fmt::format("{}, {}",
                     clean(edges.relation),
                     text(lang, up ? Word::kSyntaxAtHead : Word::kSyntaxAtDependent));
}

doctor::Syntax follow_trees(const Call& call, const Model& model, const Corpus& corpus) {
  if (corpus.trees.empty()) return {};
  Progress progress(call.screen.lang, clean(model.name()));
  doctor::SyntaxOptions how;
  how.progress = [&](std::int64_t done, std::int64_t count) {
    progress.now(say(call.screen.lang, Word::kSyntaxProgress, done, count));
  };
  return doctor::syntax(model, corpus.trees, how);
}

std::vector<TreeShown> along_trees(const doctor::Syntax& syntax, doctor::HeadId head, Lang lang) {
  std::vector<TreeShown> out;
  if (!seen_by(syntax, head)) return out;
  const std::size_t place = syntax.place(head.layer, head.head);
  for (const doctor::Edges& edges : syntax.edges) {
    if (edges.n == 0) continue;
    TreeShown one;
    one.key = doctor::link_name(edges.relation, edges.looks);
    one.name = relation_name(edges, lang);
    one.score = edges.accuracy(place);
    one.baseline = edges.baseline();
    one.off_offset = edges.accuracy_off_offset(place);
    one.n = edges.n;
    one.offset = edges.offset;
    one.label = edges.named(place);
    out.push_back(std::move(one));
  }
  return out;
}

void put_scores(JsonWriter& json, const doctor::HeadRoles& head, std::span<const TreeShown> trees) {
  json.key("labels").begin_array();
  for (const doctor::MeasureFacts& facts : doctor::kMeasureFacts) {
    if (head.of(facts.measure).label) json.value(facts.name);
  }
  for (const TreeShown& tree : trees) {
    if (tree.label) json.value(tree.key);
  }
  json.end_array().key("scores").begin_object();
  for (const doctor::MeasureFacts& facts : doctor::kMeasureFacts) {
    const doctor::Score& score = head.of(facts.measure);
    if (std::isnan(score.score)) continue;
    json.key(facts.name).begin_object().field("score", score.score);
    if (doctor::has_baseline(facts.measure)) json.field("baseline", score.baseline);
    json.field("n", score.n);
    if (facts.measure == doctor::Measure::kPosition) json.field("offset", head.offset);
    json.end_object();
  }
  for (const TreeShown& tree : trees) {
    json.key(tree.key).begin_object().field("score", tree.score).field("baseline", tree.baseline);
    json.field("n", tree.n).field("offset", tree.offset);
    json.field("off_offset", tree.off_offset).end_object();
  }
  json.end_object();
}

Word word_of(doctor::Measure measure) {
  static constexpr Word kWords[] = {Word::kPrevious,
                                    Word::kMeasureNext,
                                    Word::kItself,
                                    Word::kMeasureFirst,
                                    Word::kMeasureLast,
                                    Word::kMeasurePosition,
                                    Word::kMeasureDuplicate,
                                    Word::kMeasureInduction,
                                    Word::kMeasureRare,
                                    Word::kMeasureBroad,
                                    Word::kMeasureSure,
                                    Word::kMeasureDistance,
                                    Word::kMeasureCopying};
  static_assert(std::size(kWords) == doctor::kMeasures);
  return kWords[static_cast<std::size_t>(measure)];
}

int doctor_roles(std::span<const std::string> arguments, Lang lang, std::string& out) {
  Options o;
  Parser parser("doctor roles", lang);
  declare(parser, o);
  const Call call = parser.parse(arguments);
  if (call.help) {
    out += text(lang, Word::kHelpDoctorRoles);
    return 0;
  }
  doctor::RolesOptions options;
  if (!o.repeat.empty()) options.repeated = parse_integer(call, "--repeat", o.repeat, 0, 1'000'000);
  if (!o.seed.empty())
    options.seed =
        static_cast<std::uint64_t>(parse_integer(call, "--seed", o.seed, 0, INT64_MAX / 2));
  const std::int64_t most =
      o.pieces.empty() ? 32 : parse_integer(call, "--pieces", o.pieces, 1, 1'000'000);
  if (!o.html.empty()) check_writable(call, o.html);
  if (!o.roles.empty()) check_writable(call, o.roles);
  const Model model = load_model(call, o.words, Purpose::kLook);
  if (reads_sequences(model) && o.html.empty())
    return sequence_roles(
        call,
        model,
        {o.data, o.roles, o.columns, static_cast<std::size_t>(most), options.seed},
        out);
  const bool unread = !o.roles.empty() || !o.columns.empty();
  if (unread || reads_sequences(model)) {
    throw Error(ErrorCode::kUnsupported,
                say(lang,
                    Word::kRolesOther,
                    call.verb,
                    !o.roles.empty()     ? "--roles"
                    : !o.columns.empty() ? "--column"
                                         : "--html",
                    clean(model.name())));
  }
  const Corpus corpus = read_corpus(call, model, o.data, most);
  std::vector<doctor::HeadRoles> roles;
  {
    Progress progress(lang, std::string(text(lang, Word::kDoctorLooking)));
    roles =
        doctor::roles(model, corpus.pieces, options, telling(progress, call, Word::kDoctorLooking));
  }
  const doctor::Syntax syntax = follow_trees(call, model, corpus);
  if (!o.html.empty()) {
    const Writing writing;
    write_file(o.html, roles_page(model, corpus, roles, syntax, lang));
  }
  if (call.json) {
    out += as_json(model, corpus, roles, syntax);
    return 0;
  }
  out += render(call.screen, model, corpus, roles, syntax);
  if (!o.html.empty()) out += "  " + say(lang, Word::kWrote, clean(o.html)) + '\n';
  return 0;
}

}  // namespace headscope::cli
