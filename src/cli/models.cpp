#include "cli/app.h"
#include "cli/arguments.h"
#include "cli/catalogue.h"
#include "cli/json_writer.h"
#include "cli/see_parts.h"
#include "cli/subject.h"
#include "headscope/error.h"
#include "headscope/model.h"
#include "models/find.h"

/// `headscope models`: the built-in models and what their heads do; those in the cache of the hub
/// and in the current folder, as far as they can be read.
namespace headscope::cli {

namespace {
struct BuiltIn {
  const char* name;
  Word what;  // it is for
};
constexpr BuiltIn kBuiltIn[] = {{"tale", Word::kModelTale},
                                {"tale-taught", Word::kModelTaught},
                                {"planted", Word::kModelPlanted},
                                {"glimpse", Word::kModelGlimpse},
                                {"chorale", Word::kModelChorale},
                                {"motion", Word::kModelMotion},
                                {"series", Word::kModelSeries}};

std::string role_lines(const Screen& screen, const Model& model) {
  std::string out;
  for (const Role& role : model.roles()) {
    const std::string& name = screen.lang == Lang::kRu && !role.ru.empty() ? role.ru : role.en;
    const std::string line = "    " + left(HeadId{role.layer, role.head}.name(), 6) +
                             left(clean(name), 33) + ' ' + source_of(screen, role);
    out += clip(line, screen.width) + '\n';
  }
  return out;
}

std::string describe(const Screen& screen, const Model& model, Word what) {
  const auto [fewest, most] = head_counts(model, model.layers());
  std::string facts = "  " + say(screen.lang,
                                 Word::kModelFacts,
                                 model.family(),
                                 counted(screen.lang, Word::kLayers, model.layers()),
                                 counted_heads(screen.lang, fewest, most),
                                 large(model.parameters()));
  if (model.positions() > 0)  // models that see have no context of tokens
    facts += say(
        screen.lang, Word::kModelLength, counted(screen.lang, Word::kTokens, model.positions()));
  return paint(screen, Paint::kTitle, model.name()) + "  " + std::string(text(screen.lang, what)) +
         '\n' + clip(facts, screen.width) + '\n' + role_lines(screen, model);
}

// One line of a table, and what is wrong below it.
std::string row(const Screen& screen, const Listed& listed) {
  const std::string size =
      listed.layers == 0 ? std::string()
                         : say(screen.lang, Word::kLayersByHeads, listed.layers, listed.heads);
  const std::string parameters = listed.parameters == 0 ? std::string() : large(listed.parameters);
  const int name_width = screen.width - 41;
  const std::string name = clean(listed.name);
  std::string out = "  " + left(clip(name, name_width), name_width) + ' ' +
                    left(clip(clean(listed.family), 12), 13) + left(size, 9) +
                    right(parameters, 7) +
                    right(listed.bytes == 0 ? std::string() : bytes(listed.bytes), 9);
  out = trimmed(std::move(out)) + '\n';
  if (!listed.problem.empty()) {
    out += "    " + wrap(clean(listed.problem), screen.width, 4) + '\n';
  }
  return out;
}

std::string table(const Screen& screen, Word heading, const std::vector<Listed>& entries) {
  if (entries.empty()) return {};
  std::string out = '\n' + paint(screen, Paint::kTitle, text(screen.lang, heading)) + '\n';
  for (const Listed& listed : entries) out += row(screen, listed);
  return out;
}

void write_listed(JsonWriter& json, std::string_view key, const std::vector<Listed>& entries) {
  json.key(key).begin_array();
  for (const Listed& listed : entries) {
    json.begin_object()
        .field("name", clean(listed.name))
        .field("path", clean(listed.path.string()));
    json.field("family", clean(listed.family)).field("layers", listed.layers);
    json.field("heads", listed.heads).field("parameters", listed.parameters);
    json.field("bytes", listed.bytes).field("runs", listed.problem.empty());
    json.field("problem", clean(listed.problem)).end_object();
  }
  json.end_array();
}

void write_model(JsonWriter& json, const Model& model, std::string_view what) {
  json.begin_object()
      .field("name", model.name())
      .field("for", what)
      .field("family", model.family());
  json.field("layers", model.layers());
  json.field("heads", head_counts(model, model.layers()).second);
  json.field("parameters", model.parameters()).field("positions", model.positions());
  json.field("folder", model.folder().string()).key("roles").begin_array();
  for (const Role& role : model.roles()) {
    json.begin_object().field("layer", role.layer).field("head", role.head);
    json.field("en", role.en).field("ru", role.ru).field("source", role.source).end_object();
  }
  json.end_array().end_object();
}

std::string none_found(Lang lang) {
  std::string looked;
  for (const std::filesystem::path& shelf : models::shelves())
    looked += (looked.empty() ? "" : ", ") + clean(shelf.string());
  if (looked.empty()) looked = text(lang, Word::kNoShelf);
  return say(lang, Word::kNoBuiltIn, looked);
}
}  // namespace

int models(std::span<const std::string> arguments, Lang lang, std::string& out) {
  Parser parser("models", lang);
  const Call call = parser.parse(arguments);
  if (call.help) {
    out += text(lang, Word::kHelpModels);
    return 0;
  }
  JsonWriter json;
  json.begin_object().field("headscope", HEADSCOPE_VERSION).field("verb", "models");
  json.key("models").begin_array();
  std::string screenful;
  for (const BuiltIn& built_in : kBuiltIn) {
    try {
      const Model model = Model::load(built_in.name);
      write_model(json, model, text(lang, built_in.what));
      screenful += describe(call.screen, model, built_in.what);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kNotFound) throw;  // else a recipe alone, or not installed
    }
  }
  if (screenful.empty()) screenful = wrap(none_found(lang), call.screen.width, 2) + '\n';
  json.end_array();
  const std::vector<Listed> cache = survey_cache();
  const std::vector<Listed> here = survey_gguf_files(".");
  write_listed(json, "cache", cache);
  write_listed(json, "here", here);
  screenful += table(call.screen, Word::kModelsCached, cache);
  screenful += table(call.screen, Word::kModelsHere, here);
  json.key("families").begin_array();
  std::string known;
  for (const std::string& family : families()) {
    json.value(family);
    known += (known.empty() ? "" : ", ") + family;
  }
  json.end_array().end_object();
  screenful += '\n' + wrap(say(lang, Word::kOtherModels, known), call.screen.width, 2) + '\n';
  out += call.json ? std::move(json).take() : screenful;
  return 0;
}

}  // namespace headscope::cli
