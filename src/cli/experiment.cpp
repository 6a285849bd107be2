// Saved experiments, and `headscope doctor replay`.
#include "cli/experiment.h"

#include <fmt/format.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>

#include "cli/doctor.h"
#include "cli/edits.h"
#include "cli/head.h"
#include "cli/json_writer.h"
#include "cli/run.h"
#include "cli/see.h"
#include "cli/signals.h"
#include "formats/json.h"
#include "headscope/error.h"
#include "headscope/safetensors.h"
#include "models/find.h"

namespace headscope::cli {

namespace {

namespace fs = std::filesystem;

// A verb that saves experiments, and the options that one may bring: none of them names a file.
struct Saves {
  std::string_view verb;
  std::string_view options;  // a space on either side of each
  // nullptr: it also takes an input and edits
  int (*again)(std::span<const std::string>, Lang, std::string&) = nullptr;
};
constexpr Saves kSaves[] = {
    {"run",
     " --tokens --temperature --top-k --top-p --min-p --repetition-penalty --seed --context "
     "--cache --system --stop "
     "--chat --truncate --window --look --exact --perplexity --embed "},
    {"see", " --layer --head --truncate "},
    {"head", " --head --pieces --top --words ", head_verb},
    {"doctor rank", " --prompt --right --wrong --pieces ", doctor_rank},
    {"doctor patch", " --clean --corrupt --right --wrong --to --by --exact ", doctor_patch},
    {"doctor prune", " --by --order --pieces ", doctor_prune},
};

const Saves* find_verb(std::string_view verb) {
  const auto* found = std::find_if(
      std::begin(kSaves), std::end(kSaves), [&](const Saves& s) { return s.verb == verb; });
  return found == std::end(kSaves) ? nullptr : found;
}

// "head", whose second word stands behind the model.
constexpr std::string_view kHeadVerb = "head", kHeadOption = "--head=";

// One figure (or text) that is not what it was; null where it is not there.
struct Apart {
  std::string where;
  json::Value was, is;
  [[nodiscard]] double size() const {
    const bool numbers = was.is_number() && is.is_number();
    const double d = numbers ? std::abs(was.get<double>() - is.get<double>()) : std::nan("");
    return std::isnan(d) ? std::numeric_limits<double>::infinity() : d;
  }
};

class Comparison {
 public:
  explicit Comparison(double within) : within_(within) {}

  void compare(const json::Value& was, const json::Value& is, const std::string& where) {
    if (was.is_object()) {
      for (const auto& [key, value] : was.items()) {
        // Times differ, and a model or a text may lie under another name.
        if (key.ends_with("seconds") || key == "model" || key == "data" || key == "headscope")
          continue;
        const bool there = is.is_object() && is.contains(key);
        compare(value, there ? is[key] : json::Value(), where.empty() ? key : where + '.' + key);
      }
    } else if (was.is_array()) {
      for (std::size_t i = 0; i < was.size(); ++i) {
        compare(was[i], counterpart(was[i], is, i), where + ' ' + name_of(was[i], i));
      }
      if (is.is_array() && is.size() > was.size())
        add({where + ", how many", was.size(), is.size()});
    } else {
      Apart here{where, was, is};
      ++figures_;
      const bool same = was.is_number() && is.is_number() ? here.size() <= within_ : was == is;
      if (!same) apart_.push_back(std::move(here));
    }
  }

  [[nodiscard]] std::size_t figures() const { return figures_; }
  /// Largest first.
  [[nodiscard]] std::vector<Apart> apart() const {
    std::vector<Apart> out = apart_;
    std::stable_sort(
        out.begin(), out.end(), [](const Apart& a, const Apart& b) { return a.size() > b.size(); });
    return out;
  }

 private:
  void add(Apart one) {
    ++figures_;
    apart_.push_back(std::move(one));
  }
  // Whether both are about one head of the whole model.
  static bool of_one_head(const json::Value& a, const json::Value& b) {
    const auto same = [&](const char* key) {
      return a.contains(key) && b.contains(key) && a[key].is_number_integer() && a[key] == b[key];
    };
    return a.is_object() && b.is_object() && same("layer") && same("head");
  }
  // What stands there now, of a head wherever it stands: heads that are as good as each other change places.
  static json::Value counterpart(const json::Value& was, const json::Value& is, std::size_t i) {
    if (!is.is_array()) return {};
    if (i < is.size() && of_one_head(was, is[i])) return is[i];
    for (const json::Value& one : is) {
      if (of_one_head(was, one)) return one;
    }
    return i < is.size() ? is[i] : json::Value();
  }
  // "3.5" of a head, "3" of a layer or of a head within one, else its number.
  static std::string name_of(const json::Value& value, std::size_t i) {
    std::string out;
    for (const char* key : {"layer", "head"}) {
      if (!value.is_object() || !value.contains(key) || !value[key].is_number_integer()) continue;
      out += fmt::format("{}{}", out.empty() ? "" : ".", value[key].get<std::int64_t>());
    }
    return out.empty() ? std::to_string(i) : out;
  }

  double within_;
  std::size_t figures_ = 0;
  std::vector<Apart> apart_;
};

// A text in a file of its own for as long as it is needed.
class TextFile {
 public:
  TextFile(std::string_view text, std::string_view ending)
      : path_(fs::temp_directory_path() / fmt::format("headscope-{}{}", ::getpid(), ending)) {
    write_file(path_, text);
  }
  TextFile(const TextFile&) = delete;
  TextFile& operator=(const TextFile&) = delete;
  ~TextFile() {
    std::error_code ignored;
    fs::remove(path_, ignored);
  }
  [[nodiscard]] std::string path() const { return path_.string(); }

 private:
  fs::path path_;
};

struct Saved {
  Experiment experiment;
  json::Value figures;
  std::string weights;
};

// "3.5" and nothing else: it will stand where no option is told from a word.
bool is_head(std::string_view word) {
  const std::size_t dot = word.find('.');
  const auto number = [](std::string_view digits) {
    return !digits.empty() && digits.find_first_not_of("0123456789") == digits.npos;
  };
  return dot != word.npos && number(word.substr(0, dot)) && number(word.substr(dot + 1));
}

// That all are options of the verb, and what `head` is about is there once.
void check_arguments(const Saves& saves,
                     const std::vector<std::string>& arguments,
                     const std::string& name) {
  const auto wrong = [&](std::string_view expected, const std::string& found) {
    throw Error(ErrorCode::kFormat,
                fmt::format("[{}] expected {} of {}, found {}", name, expected, saves.verb, found));
  };
  std::size_t heads = 0;
  for (const std::string& argument : arguments) {
    const std::string option = argument.substr(0, argument.find('='));
    if (option.find(' ') != option.npos || saves.options.find(' ' + option + ' ') == option.npos)
      wrong("options", json::quote(argument));
    if (saves.verb != kHeadVerb || option != "--head") continue;
    if (!argument.starts_with(kHeadOption) || !is_head(argument.substr(kHeadOption.size())))
      wrong("--head=3.5", json::quote(argument));
    ++heads;
  }
  if (saves.verb == kHeadVerb && heads != 1) wrong("one --head=3.5", std::to_string(heads));
}

Saved read_experiment(const std::string& file) {
  const std::string name = fs::path(file).filename().string();
  const json::Value all = json::parse(read_file(file, std::size_t{1} << 30), name);
  const auto text = [&](const char* key) { return json::require<std::string>(all, key, name); };
  Saved out;
  out.experiment.verb = text("experiment");
  out.experiment.model = text("model");
  const auto& verb = out.experiment.verb;
  const Saves* saves = find_verb(verb);
  if (saves == nullptr) {
    throw Error(ErrorCode::kFormat,
                fmt::format("[{}] expected an experiment of run, see, head, doctor rank, doctor "
                            "patch or doctor prune, found {}",
                            name,
                            json::quote(verb)));
  }
  out.experiment.arguments = json::require<std::vector<std::string>>(all, "arguments", name);
  check_arguments(*saves, out.experiment.arguments, name);
  if (saves->again == nullptr) {
    out.experiment.setup = Setup{text("input"), {}};
    out.experiment.setup->edits = edits_of(json::require<json::Value>(all, "edits", name), name);
  }
  out.experiment.treebank = json::find(all, "treebank", name) != nullptr;
  out.experiment.data =
      json::get_or<std::string>(all, out.experiment.treebank ? "treebank" : "data", "", name);
  out.weights = text("weights");
  out.figures = json::require<json::Value>(all, "figures", name);
  return out;
}

// What the verb says now, as JSON.
json::Value run_again(const Experiment& experiment, const std::string& model, Lang lang) {
  std::vector<std::string> words, behind{model};
  for (const std::string& argument : experiment.arguments) {
    if (experiment.verb == kHeadVerb && argument.starts_with(kHeadOption))
      behind.push_back(argument.substr(kHeadOption.size()));
    else
      words.push_back(argument);
  }
  std::optional<TextFile> data;
  if (!experiment.data.empty()) {
    data.emplace(experiment.data, experiment.treebank ? ".conllu" : ".txt");
    words.insert(words.end(), {"--data", data->path()});
  }
  words.insert(words.end(), {"--json", "--"});
  words.insert(words.end(), behind.begin(), behind.end());
  std::string said;
  if (const Saves* saves = find_verb(experiment.verb); saves->again != nullptr) {
    (void)saves->again(words, lang, said);
  } else if (experiment.verb == "run") {
    (void)cli::run_again(words, lang, said, *experiment.setup);
  } else {
    (void)see_again(words, lang, said, *experiment.setup);
  }
  return json::parse(said, "replay");
}

std::string as_text(const json::Value& x) {
  if (x.is_number()) return fmt::format("{:.6g}", x.get<double>());
  if (!x.is_string()) return x.is_boolean() ? x.dump() : "-";
  constexpr std::size_t kMost = 60;  // bytes of a text; its end shows what became of it
  const auto& all = x.get_ref<const std::string&>();
  std::size_t from = all.size() > kMost ? all.size() - kMost : 0;
  while (from < all.size() && (static_cast<unsigned char>(all[from]) & 0xC0U) == 0x80U) ++from;
  return fmt::format("\"{}{}\"", from > 0 ? "..." : "", clean(all.substr(from)));
}

void put(JsonWriter& json, std::string_view key, const json::Value& x) {
  json.key(key);
  if (x.is_number())
    json.value(x.get<double>());
  else if (x.is_string())
    json.value(x.get_ref<const std::string&>());
  else
    json.null();
}

std::string as_json(const Saved& saved,
                    const std::string& weights,
                    std::size_t figures,
                    std::span<const Apart> apart,
                    double within) {
  JsonWriter json;
  json.begin_object().field("headscope", HEADSCOPE_VERSION).field("verb", "doctor replay");
  json.field("experiment", saved.experiment.verb).field("figures", figures);
  json.field("within", within).field("weights", weights);
  json.field("same_weights", weights == saved.weights);
  json.key("apart").begin_array();
  for (const Apart& one : apart) {
    json.begin_object().field("where", one.where);
    put(json, "was", one.was);
    put(json, "is", one.is);
    json.end_object();
  }
  json.end_array().end_object();
  return std::move(json).take();
}

}  // namespace

std::string weights_of(const std::string& model) {
  const models::Place place = models::find(model);
  std::vector<fs::path> files;
  if (fs::is_directory(place.weights)) {
    for (const auto& entry : fs::directory_iterator(place.weights)) {
      if (entry.path().extension() == ".safetensors") files.push_back(entry.path());
    }
    std::sort(files.begin(), files.end());
  } else {
    files.push_back(place.weights);
  }
  std::vector<char> block(std::size_t{1} << 20);
  std::uint64_t bytes = 0;
  uLong sum = crc32(0, nullptr, 0);
  for (const fs::path& path : files) {
    std::ifstream file(path, std::ios::binary);
    while (file.read(block.data(), static_cast<std::streamsize>(block.size())) ||
           file.gcount() > 0) {
      const auto n = static_cast<std::size_t>(file.gcount());
      sum = crc32(sum, reinterpret_cast<const Bytef*>(block.data()), static_cast<uInt>(n));
      bytes += n;
    }
  }
  return fmt::format("{} bytes, crc32 {:08x}", bytes, sum);
}

void save_experiment(const std::string& file, const Experiment& experiment) {
  json::Value all = json::Value::object();
  all["headscope"] = HEADSCOPE_VERSION;
  all["experiment"] = experiment.verb;
  all["model"] = experiment.model;
  all["weights"] = weights_of(experiment.model);
  all["arguments"] = experiment.arguments;
  if (!experiment.data.empty()) all[experiment.treebank ? "treebank" : "data"] = experiment.data;
  if (experiment.setup) {
    all["input"] = experiment.setup->input;
    JsonWriter edits;
    write_edits(edits, experiment.setup->edits);
    all["edits"] = json::parse(std::move(edits).take(), "edits");
  }
  all["figures"] = json::parse(experiment.figures, "figures");
  std::string text;
  try {
    text = all.dump(1) + '\n';
  } catch (const json::Value::exception&) {
    throw Error(
        ErrorCode::kInput,
        fmt::format("[{}] expected text in UTF-8 to save, found other bytes", experiment.verb));
  }
  const Writing writing;
  write_file(file, std::string_view(text));
}

int doctor_replay(std::span<const std::string> arguments, Lang lang, std::string& out) {
  std::vector<std::string> words;
  std::string within_word, top_word;
  bool any_weights = false;
  Parser parser("doctor replay", lang);
  parser.positionals(words);
  parser.option("--within", within_word);
  parser.option("--top", top_word);
  parser.flag("--any-weights", any_weights);
  const Call call = parser.parse(arguments);
  if (call.help) {
    out += text(lang, Word::kHelpDoctorReplay);
    return 0;
  }
  if (words.empty() || words.size() > 2)
    throw Error(ErrorCode::kUsage, say(lang, Word::kReplayNeedsFile, call.verb, words.size()));
  const double within = within_word.empty() ? 1e-3 : parse_number(call, "--within", within_word);
  if (!(within >= 0.0))
    throw Error(ErrorCode::kUsage,
                say(lang, Word::kExpectedFound, call.verb, "--within", ">= 0", clean(within_word)));
  const auto top = static_cast<std::size_t>(
      top_word.empty() ? 10 : parse_integer(call, "--top", top_word, 1, 1'000'000));
  const Saved saved = read_experiment(words[0]);
  const std::string model = words.size() == 2 ? words[1] : saved.experiment.model;
  const std::string weights = weights_of(model);
  if (weights != saved.weights && !any_weights)
    throw Error(ErrorCode::kInput,
                say(lang, Word::kReplayOtherWeights, call.verb, clean(saved.weights), weights));
  const json::Value figures = run_again(saved.experiment, model, lang);
  Comparison comparison(within);
  comparison.compare(saved.figures, figures, "");
  if (comparison.figures() == 0) {
    throw Error(ErrorCode::kFormat,
                fmt::format("[{}] expected figures of an experiment, found none", clean(words[0])));
  }
  std::vector<Apart> apart = comparison.apart();
  const int status = apart.empty() ? 0 : 1;
  if (call.json) {
    out += as_json(saved, weights, comparison.figures(), apart, within);
    return status;
  }
  out += say(lang, Word::kReplayWas, saved.experiment.verb, clean(model)) + '\n';
  if (weights != saved.weights)
    out += "  " + say(lang, Word::kReplayWeights, weights, clean(saved.weights)) + '\n';
  if (apart.empty()) {
    out += "  " +
           say(lang,
               Word::kReplaySame,
               counted(lang, Word::kFigures, static_cast<std::int64_t>(comparison.figures())),
               within) +
           '\n';
    return status;
  }
  out += "  " + say(lang, Word::kReplayApart, apart.size(), comparison.figures(), within) + '\n';
  apart.resize(std::min(apart.size(), top));
  for (const Apart& one : apart)
    out += "    " +
           say(lang, Word::kReplayRow, clean(one.where), as_text(one.was), as_text(one.is)) + '\n';
  return status;
}

}  // namespace headscope::cli
