#include "doctor/syntax.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <map>

#include "cli/app.h"
#include "cli/arguments.h"
#include "cli/doctor.h"
#include "cli/json_writer.h"
#include "cli/progress.h"
#include "cli/subject.h"
#include "formats/json.h"
#include "headscope/error.h"
#include "headscope/safetensors.h"

/// `headscope syntax`: which heads follow the edges of dependency trees.
namespace headscope::cli {

namespace {
using doctor::Edges;
using doctor::Looks;

void write_json(std::string& out, const std::string& model, const doctor::Syntax& found) {
  JsonWriter json;
  json.begin_object().field("headscope", HEADSCOPE_VERSION).field("verb", "syntax");
  json.field("model", model).field("sentences", found.sentences).field("skipped", found.skipped);
  json.field("unaligned", found.unaligned).key("edges").begin_array();
  for (const Edges& edges : found.edges) {
    json.begin_object().field("relation", edges.relation);
    json.field("looks", edges.looks == Looks::kAtHead ? "at_head" : "at_dependent");
    json.field("n", edges.n).field("offset", edges.offset).field("n_at_offset", edges.n_at_offset);
    json.field("baseline", edges.baseline()).field("best", found.head(edges.best()).name());
    json.field("best_off_offset", found.head(edges.best_off_offset()).name());
    json.array("hits", std::span<const std::int64_t>(edges.hits));
    json.array("hits_off_offset", std::span<const std::int64_t>(edges.hits_off_offset))
        .end_object();
  }
  json.end_array().end_object();
  out += std::move(json).take();
}

void write_text(std::string& out, const Call& call, const doctor::Syntax& found) {
  const Screen& screen = call.screen;
  const Lang lang = screen.lang;
  const auto percent = [](double x) { return fmt::format("{:.1f}", 100.0 * x); };
  out += paint(screen, Paint::kTitle, text(lang, Word::kSyntaxTitle)) + '\n';
  out += "  " + left(text(lang, Word::kSyntaxRelation), 11) +
         left(text(lang, Word::kSyntaxLooks), 17) + right("n", 6) + "  " +
         left(text(lang, Word::kColumnHead), 7) + right(text(lang, Word::kSyntaxHits), 7) +
         right(text(lang, Word::kSyntaxBaseline), 7) + right(text(lang, Word::kSyntaxOff), 7) +
         "  " + left(text(lang, Word::kColumnHead), 7) + right(text(lang, Word::kSyntaxOff), 5) +
         '\n';
  for (const Edges& edges : found.edges) {
    if (edges.n == 0) continue;
    const std::size_t best = edges.best();
    const std::size_t off = edges.best_off_offset();
    const Word looks =
        edges.looks == Looks::kAtHead ? Word::kSyntaxAtHead : Word::kSyntaxAtDependent;
    out += "  " + left(clean(edges.relation), 11) + left(text(lang, looks), 17) +
           right(std::to_string(edges.n), 6) + "  " + left(found.head(best).name(), 7) +
           right(percent(edges.accuracy(best)), 7) + right(percent(edges.baseline()), 7) +
           right(percent(edges.accuracy_off_offset(best)), 7) + "  " +
           left(found.head(off).name(), 7) + right(percent(edges.accuracy_off_offset(off)), 5) +
           '\n';
  }
  out += "  " +
         wrap(say(lang,
                  Word::kSyntaxNote,
                  counted(lang, Word::kSentences, found.sentences),
                  found.skipped,
                  counted(lang, Word::kEdges, found.unaligned)),
              screen.width,
              2) +
         '\n';
}

/// The sentences of all these treebanks, the first `most` of each.
std::vector<conllu::Sentence> read_treebanks(const Call& call,
                                             std::span<const std::string> files,
                                             std::size_t most) {
  std::vector<conllu::Sentence> out;
  for (const std::string& file : files) {
    check_there(call, text(call.screen.lang, Word::kATreebank), file);
    std::vector<conllu::Sentence> some = conllu::load(file);
    if (some.size() > most) some.resize(most);
    std::move(some.begin(), some.end(), std::back_inserter(out));
  }
  return out;
}

/// That a relation ties words of these trees. Errors: kUsage, with those that do, the commonest first.
void check_relation(const Call& call,
                    const std::vector<conllu::Sentence>& trees,
                    const std::string& relation) {
  const auto has = [&](const conllu::Sentence& tree) {
    return !conllu::edges(tree, relation).empty();
  };
  if (trees.empty() || std::any_of(trees.begin(), trees.end(), has)) return;
  std::map<std::string, std::int64_t> counts;
  for (const conllu::Sentence& tree : trees) {
    for (const conllu::Word& word : tree.words)
      if (word.head >= 0) ++counts[std::string(conllu::without_subtype(word.relation))];
  }
  std::vector<std::pair<std::string, std::int64_t>> there(counts.begin(), counts.end());
  std::stable_sort(
      there.begin(), there.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
  std::string names;
  for (const auto& [name, n] : there) names += (names.empty() ? "" : " | ") + clean(name);
  throw Error(
      ErrorCode::kUsage,
      say(call.screen.lang, Word::kExpectedFound, call.verb, "--relation", names, clean(relation)));
}

/// Whether the model says of itself that this head learned from trees to follow the role's relation.
bool was_taught(const json::Value& taught, const Role& role, const doctor::RoleName& name) {
  const auto head = taught.find(HeadId{role.layer, role.head}.name());
  if (head == taught.end() || !head->is_array()) return false;
  const std::string wanted = doctor::link_name(name.relation, name.looks);
  return std::any_of(head->begin(), head->end(), [&](const json::Value& one) {
    return one.is_string() && one.get<std::string>() == wanted;
  });
}

void say_what_was_taught(const Model& model, std::vector<Role>& roles) {
  const std::filesystem::path config = model.folder() / "config.json";
  std::error_code ignored;
  if (!std::filesystem::exists(config, ignored)) return;
  const json::Value parsed = json::parse(read_file(config, std::size_t{16} << 20), config.string());
  const auto taught = parsed.find("taught_heads");
  if (taught == parsed.end() || !taught->is_object()) return;
  for (Role& role : roles) {
    const doctor::RoleName* name = doctor::role_name(role.en);
    if (name == nullptr || !was_taught(*taught, role, *name)) continue;
    role.en =
        std::string(doctor::kTaught) + role.en;  // in front, where narrow screens do not cut it off
    role.ru = "учили: " + role.ru;
  }
}
}  // namespace

void write_roles(const std::filesystem::path& path, const std::vector<Role>& roles) {
  JsonWriter json;
  json.begin_array();
  for (const Role& role : roles) {
    json.begin_object().field("layer", role.layer).field("head", role.head);
    json.field("letter", role.letter).field("shape", role.shape);
    json.field("en", role.en).field("ru", role.ru).field("source", role.source);
    if (!role.source_ru.empty()) json.field("source_ru", role.source_ru);
    json.field("score", role.score)
        .field("baseline", role.baseline)
        .field("n", role.n)
        .end_object();
  }
  json.end_array();
  write_file(path, std::string_view(std::move(json).take()));
}

int syntax(std::span<const std::string> arguments, Lang lang, std::string& out) {
  std::vector<std::string> words, relations;
  std::string sentences, roles;
  Parser parser("syntax", lang);
  parser.positionals(words);
  parser.repeated("--relation", relations);
  parser.option("--sentences", sentences);
  parser.option("--roles", roles);
  const Call call = parser.parse(arguments);
  if (call.help) {
    out += text(lang, Word::kHelpSyntax);
    return 0;
  }
  if (words.size() < 2) {
    throw Error(ErrorCode::kUsage,
                say(lang,
                    Word::kSyntaxNeeds,
                    counted(lang, Word::kSaidWords, static_cast<std::int64_t>(words.size()))));
  }
  const std::size_t most = sentences.empty()
                               ? std::size_t{1} << 40
                               : static_cast<std::size_t>(parse_integer(
                                     call, "--sentences", sentences, 1, 1'000'000'000));
  check_model(call, words[0]);
  const std::vector<conllu::Sentence> all = read_treebanks(call, std::span(words).subspan(1), most);
  for (const std::string& relation : relations) check_relation(call, all, relation);
  Progress progress(call.screen.lang, clean(words[0]));
  const Model model = Model::load(words[0]);
  doctor::SyntaxOptions options;
  if (!relations.empty()) options.relations = relations;
  options.progress = [&](std::int64_t done, std::int64_t count) {
    progress.now(say(lang, Word::kSyntaxProgress, done, count));
  };
  const doctor::Syntax found = doctor::syntax(model, all, options);
  if (!roles.empty()) {
    std::string source = "UD";
    for (std::size_t i = 1; i < words.size(); ++i) {
      // "ru_gsd-ud-test" of a path
      source +=
          ' ' + std::filesystem::path(words[i]).filename().replace_extension().stem().string();
    }
    std::vector<Role> named = doctor::syntax_roles(found, source);
    say_what_was_taught(model, named);
    write_roles(roles, named);
  }
  if (call.json) {
    write_json(out, model.name(), found);
  } else {
    write_text(out, call, found);
  }
  return 0;
}

}  // namespace headscope::cli
