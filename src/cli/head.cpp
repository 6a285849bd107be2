#include "cli/head.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "cli/app.h"
#include "cli/json_writer.h"
#include "cli/signals.h"
#include "cli/subject.h"
#include "headscope/error.h"
#include "headscope/safetensors.h"

namespace headscope::cli {

namespace {

struct Options {
  std::vector<std::string> words;
  std::string data, pieces, top, vocabulary, output;
};

std::string word_at(const Model& model, std::int32_t id) {
  return clean(model.tokenizer().decode(std::span(&id, 1)));
}

std::string words_at(const Model& model,
                     std::span<const std::int32_t> ids,
                     std::int64_t first,
                     std::int64_t last) {
  constexpr std::int64_t kAround = 6;
  if (first >= last) return "";
  const bool cut = last - first > kAround;
  const auto text = [&](std::int64_t from, std::int64_t to) {
    return clean(model.tokenizer().decode(
        ids.subspan(static_cast<std::size_t>(from), static_cast<std::size_t>(to - from))));
  };
  if (!cut) return text(first, last);
  return text(first, first + kAround / 2) + " ... " + text(last - kAround / 2, last);
}

std::string stripped(const std::string& word) {
  const std::size_t first = word.find_first_not_of(' ');
  return first == word.npos ? "" : word.substr(first, word.find_last_not_of(' ') + 1 - first);
}

LinkShown shown(const Model& model, std::span<const Tokens> texts, const doctor::Link& link) {
  constexpr std::int64_t kBeside = 3;
  const auto ids = texts[link.text].ids.span<std::int32_t>();
  const auto T = static_cast<std::int64_t>(ids.size());
  const std::int64_t low = std::min(link.row, link.key), high = std::max(link.row, link.key);
  LinkShown out;
  out.weight = link.weight;
  out.row = stripped(word_at(model, ids[static_cast<std::size_t>(link.row)]));
  out.key = stripped(word_at(model, ids[static_cast<std::size_t>(link.key)]));
  out.key_first = link.key < link.row;
  out.before = stripped(words_at(model, ids, std::max<std::int64_t>(0, low - kBeside), low));
  out.between = stripped(words_at(model, ids, low + 1, high));
  out.after = stripped(words_at(model, ids, high + 1, std::min(T, high + 1 + kBeside)));
  return out;
}

std::vector<PairShown> shown(const Model& model, std::span<const doctor::WordPair> pairs) {
  std::vector<PairShown> out;
  for (const doctor::WordPair& pair : pairs)
    out.push_back({word_at(model, pair.from), word_at(model, pair.to), pair.score});
  return out;
}

// What each text loses when the head says nothing, or its mean.
void remove_head(const Model& model, const Corpus& corpus, Portrait& out) {
  doctor::Judge by;
  if (!model.generates()) by.kind = doctor::Judge::Kind::kEmbedding;
  const double sign = model.generates() ? 1.0 : -1.0;
  std::vector<double> zero, mean;
  for (const Tokens& piece : corpus.pieces) {
    if (model.generates() && piece.ids.dim(1) < 2) continue;
    const doctor::Baseline base(model, doctor::copy_of(piece));
    std::vector<Edit> edits(2);
    for (Edit& edit : edits) edit.layer = out.id.layer, edit.head = out.id.head;
    edits[1].kind = Edit::Kind::kMean;
    const double whole = doctor::judge(base, by);
    const std::vector<double> found = doctor::sweep(base, edits, by);
    zero.push_back(sign * (found[0] - whole));
    mean.push_back(sign * (found[1] - whole));
  }
  if (zero.empty()) return;
  out.zero = doctor::bootstrap(zero);
  out.mean = doctor::bootstrap(mean);
}

// What cannot be asked of a model is said, and does not keep the rest from being shown.
template <typename Body>
void unless_unsupported(std::string& why, const Body& body) {
  try {
    body();
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kUnsupported) throw;
    why = error.what();
  }
}

Portrait portray(const Call& call,
                 const Model& model,
                 doctor::HeadId id,
                 const Corpus& corpus,
                 const doctor::CircuitOptions& wishes) {
  Progress progress{std::string(text(call.screen.lang, Word::kDoctorLooking))};
  const auto told = telling(progress, call, Word::kDoctorLooking);
  Portrait out;
  out.id = id;
  out.model = model.name();
  out.about = corpus.about(call.screen.lang);
  doctor::RolesOptions options;
  options.circuits = false;
  std::size_t at = 0;
  for (const doctor::HeadRoles& head : doctor::roles(model, corpus.pieces, options, told)) {
    if (head.id == id) out.roles = head;
  }
  for (const auto& value : doctor::copying(model, id.layer)) {
    if (static_cast<int>(at++) != id.head || !value) continue;
    doctor::Score& score = out.roles.scores[static_cast<std::size_t>(doctor::Measure::kCopying)];
    score = {
        *value,
        0.0,
        1,
        *value >= doctor::kMeasureFacts[static_cast<std::size_t>(doctor::Measure::kCopying)].least};
  }
  const doctor::Links links = doctor::strongest_links(model, id, corpus.pieces, wishes.most);
  out.first_mass = links.first_mass;
  for (const doctor::Link& link : links.strongest)
    out.links.push_back(shown(model, corpus.pieces, link));
  unless_unsupported(out.no_circuits, [&] {
    doctor::CircuitOptions own = wishes;
    own.told = told;
    const doctor::Circuits found = doctor::circuits(model, id, own);
    out.words = found.words;
    out.writes = shown(model, found.writes);
    out.seeks = shown(model, found.seeks);
  });
  unless_unsupported(out.no_removal, [&] { remove_head(model, corpus, out); });
  return out;
}

std::string interval(const doctor::Interval& x) {
  if (x.low == x.high) return fmt::format("{:+.4f}", x.mean);
  return fmt::format("{:+.4f} [{:+.4f} {:+.4f}]", x.mean, x.low, x.high);
}

// "the young <prince> a sharp [sword] .": the word that looks in brackets, what it looks at in angles.
std::string context_of(const LinkShown& link) {
  const std::string row = "[" + link.row + "]", key = "<" + link.key + ">";
  return in_order(link, row, key);
}

std::string roles_lines(const Portrait& head, Lang lang) {
  std::string out;
  for (const doctor::MeasureFacts& facts : doctor::kMeasureFacts) {
    const doctor::Score& score = head.roles.of(facts.measure);
    if (!score.label) continue;
    const std::string figures =
        facts.measure == doctor::Measure::kCopying
            ? figure(score.score)
            : say(lang, Word::kPageScore, figure(score.score), figure(score.baseline), score.n);
    out += "    " + left(std::string(text(lang, word_of(facts.measure))), 28) + figures + '\n';
  }
  return out.empty() ? "    " + std::string(text(lang, Word::kPageNoRole)) + '\n' : out;
}

std::string render(const Screen& screen, const Portrait& head) {
  const Lang lang = screen.lang;
  std::string out = say(lang, Word::kPageTitle, head.id.name(), clean(head.model)) + "\n";
  const auto title = [&](const std::string& what) {
    out += "\n" + paint(screen, Paint::kTitle, "  " + what) + '\n';
  };
  const auto note = [&](const std::string& what) {
    out += paint(screen, Paint::kDim, "  " + wrap(what, screen.width, 2)) + '\n';
  };
  title(say(lang, Word::kPageRoles, head.about));
  out += roles_lines(head, lang);
  title(std::string(text(lang, Word::kPageLinks)));
  for (const LinkShown& link : head.links)
    out += "    " + share(link.weight) + "  " +
           clip(clean(context_of(link)), std::max(20, screen.width - 10)) + '\n';
  note(say(lang, Word::kPageLinksNote, share(head.first_mass)));
  const auto pairs = [&](Word what, std::span<const PairShown> all) {
    if (all.empty()) return;
    title(std::string(text(lang, what)));
    for (const PairShown& pair : all)
      out += "    " + right(figure(pair.score), 7) + "  " +
             left('"' + clip(pair.from, 24) + '"', 26) + " \"" + clip(pair.to, 24) + "\"\n";
  };
  pairs(Word::kPageWrites, head.writes);
  pairs(Word::kPageSeeks, head.seeks);
  note(head.no_circuits.empty() ? say(lang, Word::kPageCircuitNote, head.words)
                                : say(lang, Word::kPageNoCircuit, head.no_circuits));
  if (head.zero) {
    out +=
        "\n  " + say(lang, Word::kPageRemoval, interval(*head.zero), interval(*head.mean)) + '\n';
  }
  return tidy(out);
}

void put_pairs(JsonWriter& json, std::string_view name, std::span<const PairShown> pairs) {
  json.key(name).begin_array();
  for (const PairShown& pair : pairs) {
    json.begin_object().field("from", pair.from).field("to", pair.to);
    json.field("score", pair.score).end_object();
  }
  json.end_array();
}

void put(JsonWriter& json, std::string_view name, const std::optional<doctor::Interval>& x) {
  if (!x) return;
  json.key(name).begin_object().field("mean", x->mean);
  json.field("low", x->low).field("high", x->high).end_object();
}

std::string as_json(const Portrait& head) {
  JsonWriter json;
  json.begin_object().field("headscope", HEADSCOPE_VERSION).field("verb", "head");
  json.field("model", head.model).field("layer", head.id.layer).field("head", head.id.head);
  json.field("data", head.about).key("labels").begin_array();
  for (const doctor::MeasureFacts& facts : doctor::kMeasureFacts) {
    if (head.roles.of(facts.measure).label) json.value(facts.name);
  }
  json.end_array().key("scores").begin_object();
  for (const doctor::MeasureFacts& facts : doctor::kMeasureFacts) {
    const doctor::Score& score = head.roles.of(facts.measure);
    if (std::isnan(score.score)) continue;
    json.key(facts.name).begin_object().field("score", score.score);
    json.field("baseline", score.baseline).field("n", score.n).end_object();
  }
  json.end_object().field("first_mass", head.first_mass).key("links").begin_array();
  for (const LinkShown& link : head.links) {
    json.begin_object().field("weight", link.weight).field("row", link.row);
    json.field("key", link.key).field("context", context_of(link)).end_object();
  }
  json.end_array().field("words", head.words);
  put_pairs(json, "writes", head.writes);
  put_pairs(json, "seeks", head.seeks);
  if (!head.no_circuits.empty()) json.field("no_circuits", head.no_circuits);
  put(json, "zero", head.zero);
  put(json, "mean", head.mean);
  if (!head.no_removal.empty()) json.field("no_removal", head.no_removal);
  json.end_object();
  return std::move(json).take();
}

}  // namespace

std::string in_order(const LinkShown& link, const std::string& row, const std::string& key) {
  std::string out;
  for (const std::string* part : {&link.before,
                                  link.key_first ? &key : &row,
                                  &link.between,
                                  link.key_first ? &row : &key,
                                  &link.after}) {
    if (!part->empty()) out += (out.empty() ? "" : " ") + *part;
  }
  return out;
}

int head_verb(std::span<const std::string> arguments, Lang lang, std::string& out) {
  Options o;
  Parser parser("head", lang);
  parser.positionals(o.words);
  parser.option("--data", o.data);
  parser.option("--pieces", o.pieces);
  parser.option("--top", o.top);
  parser.option("--words", o.vocabulary);
  parser.option("-o,--output", o.output);
  const Call call = parser.parse(arguments);
  if (call.help) {
    out += text(lang, Word::kHelpHead);
    return 0;
  }
  if (o.words.size() != 2)
    throw Error(ErrorCode::kUsage, say(lang, Word::kPageNeeds, call.verb, o.words.size()));
  const HeadId id = parse_head(call, "L.H", o.words[1]);
  const std::int64_t most =
      o.pieces.empty() ? 16 : parse_integer(call, "--pieces", o.pieces, 1, 1'000'000);
  doctor::CircuitOptions wishes;
  if (!o.top.empty())
    wishes.most = static_cast<std::size_t>(parse_integer(call, "--top", o.top, 1, 1000));
  if (!o.vocabulary.empty())
    wishes.words = parse_integer(call, "--words", o.vocabulary, 1, INT32_MAX);
  if (!o.output.empty()) check_writable(call, o.output);
  const Model model = load_model(call, std::span(o.words).first(1), Purpose::kLook);
  check_head(call, model, id);
  const Corpus corpus = read_corpus(call, model, o.data, most);
  const Portrait head = portray(call, model, {id.layer, id.head}, corpus, wishes);
  if (!o.output.empty()) {
    const Writing writing;
    write_file(o.output, portrait_page(head, lang));
  }
  if (call.json) {
    out += as_json(head);
    return 0;
  }
  out += render(call.screen, head);
  if (!o.output.empty()) out += "  " + say(lang, Word::kWrote, clean(o.output)) + '\n';
  return 0;
}

}  // namespace headscope::cli
