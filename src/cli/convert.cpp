#include <filesystem>
#include <optional>
#include <system_error>

#include "cli/app.h"
#include "cli/arguments.h"
#include "cli/json_writer.h"
#include "cli/progress.h"
#include "cli/signals.h"
#include "cli/subject.h"
#include "headscope/error.h"
#include "models/find.h"
#include "models/gguf_convert.h"

/// `headscope convert`: a model from a Hugging Face folder to GGUF, or the other way.
namespace headscope::cli {

namespace {
namespace fs = std::filesystem;

constexpr DType kDTypes[] = {DType::kF32, DType::kBF16, DType::kF16, DType::kQ8_0, DType::kQ4_0};

bool is_gguf(const fs::path& path) { return path.extension() == ".gguf"; }

DType dtype_of(const Call& call, const std::string& word, bool to_gguf) {
  if (word.empty()) return to_gguf ? DType::kF16 : DType::kF32;
  for (const DType dtype : kDTypes) {
    if (word == headscope::name(dtype) && (to_gguf || !is_quantised(dtype))) return dtype;
  }
  throw Error(ErrorCode::kUsage,
              say(call.screen.lang,
                  Word::kExpectedFound,
                  call.verb,
                  "--dtype",
                  to_gguf ? "f32 | bf16 | f16 | q8_0 | q4_0" : "f32 | bf16 | f16",
                  clean(word)));
}

/// Refuses what would write over something, unless it is wished for.
void check_target(const Call& call, const fs::path& to, bool force) {
  std::error_code ignored;
  const fs::path taken = is_gguf(to) ? to : to / "model.safetensors";
  const fs::path config = is_gguf(to) ? to : to / "config.json";
  if (force || (!fs::exists(taken, ignored) && !fs::exists(config, ignored))) return;
  throw Error(ErrorCode::kUsage, say(call.screen.lang, Word::kConvertExists, clean(to.string())));
}
}  // namespace

int convert(std::span<const std::string> arguments, Lang lang, std::string& out) {
  std::vector<std::string> words;
  std::string target, dtype_word;
  bool force = false;
  Parser parser("convert", lang);
  parser.positionals(words);
  parser.option("-o,--output", target);
  parser.option("--dtype", dtype_word);
  parser.flag("--force", force);
  const Call call = parser.parse(arguments);
  if (call.help) {
    out += text(lang, Word::kHelpConvert);
    return 0;
  }
  if (words.size() != 1 || target.empty()) {
    throw Error(ErrorCode::kUsage, std::string(text(lang, Word::kConvertNeeds)));
  }
  const fs::path to(target);
  const auto expect_sides = [&](const fs::path& from) {
    if (is_gguf(from) == is_gguf(to))
      throw Error(ErrorCode::kUsage, std::string(text(lang, Word::kConvertSides)));
  };
  if (is_gguf(words.front())) expect_sides(words.front());
  const DType dtype = dtype_of(call, dtype_word, is_gguf(to));
  // A path, a built-in model, or one of the cache: its GGUF file, or the folder of its files.
  check_model(call, words.front());
  const models::Place place = models::find(words.front());
  const fs::path from = is_gguf(place.weights) ? place.weights : place.folder;
  expect_sides(from);
  check_target(call, to, force);
  std::vector<std::string> left_out;
  {
    Progress progress(call.screen.lang, clean(from.string()));
    const Writing writing;
    const auto told = [&](const std::string& name) {
      progress.now(clean(from.string()) + ": " + clean(name));
    };
    if (is_gguf(to)) {
      left_out = models::convert_to_gguf(from, to, dtype, told);
    } else {
      models::convert_to_folder(from, to, dtype, told);
    }
  }
  if (call.json) {
    JsonWriter json;
    json.begin_object().field("headscope", HEADSCOPE_VERSION).field("verb", "convert");
    json.field("from", from.string()).field("to", to.string());
    json.field("dtype", std::string(headscope::name(dtype))).key("left_out").begin_array();
    for (const std::string& name : left_out) json.value(name);
    json.end_array().end_object();
    out += std::move(json).take();
  } else {
    out += say(lang, Word::kWrote, clean(to.string())) + '\n';
    if (!left_out.empty()) {
      std::string names;
      for (const std::string& name : left_out) names += (names.empty() ? "" : ", ") + clean(name);
      out += say(lang, Word::kConvertLeftOut, names) + '\n';
    }
  }
  return 0;
}

}  // namespace headscope::cli
