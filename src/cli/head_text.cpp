// One head on a terminal, and as JSON.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "cli/head.h"
#include "cli/json_writer.h"
#include "cli/see_parts.h"

namespace headscope::cli {

namespace {

constexpr int kName = 28;  // columns

std::string interval(const doctor::Interval& x) {
  if (x.low == x.high) return fmt::format("{:+.4f}", x.mean);
  return fmt::format("{:+.4f} [{:+.4f} {:+.4f}]", x.mean, x.low, x.high);
}

// "the young <prince> a sharp [sword] .": the word that looks in brackets, what it looks at in angles.
std::string context_of(const LinkShown& link) {
  const std::string row = "[" + link.row + "]", key = "<" + link.key + ">";
  return in_order(link, row, key);
}

std::string entry(const std::string& name, const std::string& figures) {
  const std::string gap = columns(name) < kName ? "" : "  ";
  return "    " + left(name, kName) + gap + figures + '\n';
}

std::string known_lines(const Portrait& head, const Screen& screen) {
  std::string out;
  for (const Role& role : head.known)
    out += entry(clean(role_name(role, screen.lang)), role_line(screen, role));
  return out;
}

bool stands_out(const Portrait& head) {
  return std::any_of(
      head.trees.begin(), head.trees.end(), [](const TreeShown& tree) { return tree.label; });
}

std::string roles_lines(const Portrait& head, Lang lang) {
  std::string out;
  for (const doctor::MeasureFacts& facts : doctor::kMeasureFacts) {
    if (!head.roles.of(facts.measure).label) continue;
    out += entry(std::string(text(lang, word_of(facts.measure))),
                 score_line(head, facts.measure, lang));
  }
  if (!out.empty()) return out;
  const bool known = !head.known.empty() || stands_out(head);
  return "    " + std::string(text(lang, known ? Word::kPageNoRoleHere : Word::kPageNoRole)) + '\n';
}

std::string tree_lines(const Portrait& head, Lang lang) {
  std::string out;
  for (const TreeShown& tree : head.trees) {
    if (tree.label) out += entry(tree.name, score_line(tree, lang));
  }
  if (!out.empty()) return out;
  const auto nearest = std::max_element(
      head.trees.begin(), head.trees.end(), [](const TreeShown& x, const TreeShown& y) {
        return x.score - x.baseline < y.score - y.baseline;
      });
  return "    " + say(lang, Word::kPageNoTree, nearest->name, score_line(*nearest, lang)) + '\n';
}

std::string_view silence_of(const Portrait& head, Lang lang) {
  switch (head.silence) {
    case doctor::Circuits::Silence::kNone:
      break;
    case doctor::Circuits::Silence::kNoWords:
      return text(lang, Word::kPageNoWords);
    case doctor::Circuits::Silence::kNotAdded:
      return text(lang, Word::kPageNotAdded);
    case doctor::Circuits::Silence::kNotLinear:
      return text(lang, Word::kPageNotLinear);
  }
  return "";
}

void put_pairs(JsonWriter& json, std::string_view name, std::span<const PairShown> pairs) {
  json.key(name).begin_array();
  for (const PairShown& pair : pairs) {
    json.begin_object().field("from", pair.from).field("to", pair.to);
    json.field("from_id", pair.from_id).field("to_id", pair.to_id);
    json.field("score", pair.score).end_object();
  }
  json.end_array();
}

void put(JsonWriter& json, std::string_view name, const std::optional<doctor::Interval>& x) {
  if (!x) return;
  json.key(name).begin_object().field("mean", x->mean);
  json.field("low", x->low).field("high", x->high).end_object();
}

void put_known(JsonWriter& json, std::span<const Role> known) {
  json.key("roles").begin_array();
  for (const Role& role : known) {
    json.begin_object();
    put_role(json, role);
    json.end_object();
  }
  json.end_array();
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

std::string score_line(const Portrait& head, doctor::Measure measure, Lang lang) {
  const doctor::Score& score = head.roles.of(measure);
  if (measure == doctor::Measure::kCopying) return figure(score.score);
  if (!doctor::has_baseline(measure)) return fmt::format("{} (n {})", figure(score.score), score.n);
  return say(lang, Word::kPageScore, figure(score.score), figure(score.baseline), score.n);
}

std::string score_line(const TreeShown& tree, Lang lang) {
  return say(lang, Word::kPageTreeScore, figure(tree.score), figure(tree.baseline), tree.n);
}

std::vector<std::string> circuit_notes(const Portrait& head, Lang lang) {
  if (!head.no_circuits.empty()) return {say(lang, Word::kPageNoCircuit, head.no_circuits)};
  std::vector<std::string> out;
  if (head.silence != doctor::Circuits::Silence::kNone)
    out.push_back(say(lang, Word::kPageNoWrites, silence_of(head, lang)));
  std::string note = say(lang, Word::kPageCircuitNote, counted(lang, Word::kOfWords, head.words));
  if (!head.writes.empty()) note += text(lang, Word::kPageWritesUnit);
  if (head.rotary) note += text(lang, Word::kPageRotary);
  if (head.by_distance) note += text(lang, Word::kPageByDistance);
  out.push_back(std::move(note));
  return out;
}

std::string removal_line(const Portrait& head, Lang lang) {
  if (!head.no_removal.empty()) return say(lang, Word::kPageNoRemoval, head.no_removal);
  if (!head.zero || !head.mean) return "";
  return say(lang,
             Word::kPageRemoval,
             text(lang, head.foretells ? Word::kPageNats : Word::kPageLikeness),
             interval(*head.zero),
             interval(*head.mean));
}

std::string portrait_text(const Portrait& head, const Screen& screen) {
  const Lang lang = screen.lang;
  std::string out = say(lang, Word::kPageTitle, head.id.name(), clean(head.model)) + "\n";
  const auto heading = [&](const std::string& what) {
    out += "\n" + paint(screen, Paint::kTitle, "  " + what) + '\n';
  };
  const auto remark = [&](const std::string& what) {
    out += paint(screen, Paint::kDim, "  " + wrap(what, screen.width, 2)) + '\n';
  };
  if (!head.known.empty()) {
    heading(std::string(text(lang, Word::kPageKnown)));
    out += known_lines(head, screen);
  }
  heading(say(lang, Word::kPageRoles, head.about));
  out += roles_lines(head, lang);
  if (!head.trees.empty()) {
    heading(std::string(text(lang, Word::kPageTrees)));
    out += tree_lines(head, lang);
    remark(head.about_trees);
  }
  heading(std::string(text(lang, Word::kPageLinks)));
  for (const LinkShown& link : head.links)
    out += "    " + share(link.weight) + "  " +
           clip(clean(context_of(link)), std::max(20, screen.width - 10)) + '\n';
  remark(say(lang, Word::kPageLinksNote, share(head.first_mass)));
  const auto pairs = [&](Word what, std::span<const PairShown> all) {
    if (all.empty()) return;
    heading(std::string(text(lang, what)));
    for (const PairShown& pair : all)
      out += "    " + right(figure(pair.score), 7) + "  " +
             left('"' + clip(pair.from, 24) + '"', 26) + " \"" + clip(pair.to, 24) + "\"\n";
  };
  pairs(Word::kPageWrites, head.writes);
  pairs(Word::kPageSeeks, head.seeks);
  for (const std::string& line : circuit_notes(head, lang)) remark(line);
  if (const std::string line = removal_line(head, lang); !line.empty())
    out += "\n  " + wrap(line, screen.width, 2) + '\n';
  return tidy(out);
}

std::string portrait_json(const Portrait& head) {
  JsonWriter json;
  json.begin_object().field("headscope", HEADSCOPE_VERSION).field("verb", "head");
  json.field("model", head.model).field("layer", head.id.layer).field("head", head.id.head);
  put_known(json, head.known);
  json.field("data", head.about);
  put_scores(json, head.roles, head.trees);
  json.field("first_mass", head.first_mass).key("links").begin_array();
  for (const LinkShown& link : head.links) {
    json.begin_object().field("weight", link.weight).field("row", link.row);
    json.field("key", link.key).field("context", context_of(link)).end_object();
  }
  json.end_array().field("words", head.words);
  put_pairs(json, "writes", head.writes);
  if (head.silence != doctor::Circuits::Silence::kNone)
    json.field("no_writes", silence_of(head, Lang::kEn));
  put_pairs(json, "seeks", head.seeks);
  if (!head.no_circuits.empty()) json.field("no_circuits", head.no_circuits);
  json.field("judged_by", head.foretells ? "loss" : "embedding_cosine");
  put(json, "zero", head.zero);
  put(json, "mean", head.mean);
  if (!head.no_removal.empty()) json.field("no_removal", head.no_removal);
  json.end_object();
  return std::move(json).take();
}

}  // namespace headscope::cli
