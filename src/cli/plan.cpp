#include "cli/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <map>
#include <optional>

#include "cli/app.h"
#include "cli/arguments.h"
#include "cli/progress.h"
#include "headscope/error.h"
#include "headscope/safetensors.h"
#include "models/find.h"
#include "models/model_files.h"
#include "models/resized.h"

/// `headscope plan`: what a model of some sizes costs, before there is one.
namespace headscope::cli {

namespace {

namespace fs = std::filesystem;
using architect::Draft;
using architect::Figures;

/// Words of the command line, before they are read.
struct Asked {
  std::vector<std::string> model;
  std::string layers, width, inner, heads, groups, head_width, vocabulary;
  std::string context, batch, dtype, cache, memory, output;
  bool no_measure = false;
};

constexpr std::int64_t kMost = std::int64_t{1} << 28;

[[noreturn]] void expected(const Call& call,
                           std::string_view option,
                           std::string_view what,
                           std::string_view found) {
  throw Error(ErrorCode::kUsage,
              say(call.screen.lang, Word::kExpectedFound, call.verb, option, what, clean(found)));
}

/// "8GB", "512MB", "7.5GiB".
std::uint64_t parse_bytes(const Call& call, std::string_view option, std::string_view word) {
  constexpr std::pair<std::string_view, double> kUnits[] = {{"KiB", 0x1p10},
                                                            {"MiB", 0x1p20},
                                                            {"GiB", 0x1p30},
                                                            {"TiB", 0x1p40},
                                                            {"KB", 1e3},
                                                            {"MB", 1e6},
                                                            {"GB", 1e9},
                                                            {"TB", 1e12}};
  for (const auto& [unit, size] : kUnits) {
    if (!word.ends_with(unit)) continue;
    const double n = parse_number(call, option, word.substr(0, word.size() - unit.size())) * size;
    if (n >= 1.0 && n < 0x1p62) return static_cast<std::uint64_t>(n);
    break;
  }
  expected(call, option, "8GB | 512MB | 7.5GiB", word);
}

/// "2048", "32k" (of 1024).
std::int64_t parse_tokens(const Call& call, std::string_view option, std::string_view word) {
  const bool thousands = word.ends_with('k') || word.ends_with('K');
  const std::int64_t unit = thousands ? 1024 : 1;
  return unit *
         parse_integer(
             call, option, thousands ? word.substr(0, word.size() - 1) : word, 1, kMost / unit);
}

DType parse_dtype(const Call& call, std::string_view option, std::string_view word) {
  for (const DType dtype : {DType::kF32,
                            DType::kF16,
                            DType::kBF16,
                            DType::kQ8_0,
                            DType::kQ4_0,
                            DType::kQ4_1,
                            DType::kQ5_0,
                            DType::kQ5_1}) {
    if (name(dtype) == word) return dtype;
  }
  expected(call, option, "f32 | f16 | bf16 | q8_0 | q5_0 | q5_1 | q4_0 | q4_1", word);
}

/// A decoder of Llama's kin with these numbers.
json::Value config_of_numbers(const Call& call, const Asked& asked, std::int64_t context) {
  const auto number = [&](const std::string& word, const char* option, std::int64_t fallback) {
    return word.empty() ? fallback : parse_integer(call, option, word, 1, kMost);
  };
  if (asked.width.empty() || asked.layers.empty())
    throw Error(ErrorCode::kUsage, std::string(text(call.screen.lang, Word::kPlanNeeds)));
  const std::int64_t C = number(asked.width, "--model-width", 0);
  const std::int64_t H = asked.heads.empty()
                             ? std::max<std::int64_t>(1, C / 64)
                             : parse_integers(call, "--heads", asked.heads, 1, 65536).front();
  if (asked.head_width.empty() && C % H != 0)
    expected(call, "--heads", say(call.screen.lang, Word::kPlanDivide, C), std::to_string(H));
  const std::int64_t D = number(asked.head_width, "--head-width", C / H);
  const std::int64_t G =
      asked.groups.empty() ? H : parse_integers(call, "--groups", asked.groups, 1, 65536).front();
  if (H % G != 0)
    expected(call, "--groups", say(call.screen.lang, Word::kPlanDivide, H), std::to_string(G));
  json::Value config = {{"model_type", "llama"}, {"architectures", {"LlamaForCausalLM"}}};
  config["hidden_size"] = C;
  config["num_hidden_layers"] = parse_integer(call, "--layers", asked.layers, 1, 4096);
  config["num_attention_heads"] = H;
  config["num_key_value_heads"] = G;
  config["head_dim"] = D;
  config["intermediate_size"] = number(asked.inner, "--inner", (C * 8 / 3 + 63) / 64 * 64);
  config["vocab_size"] = number(asked.vocabulary, "--vocabulary", 32000);
  config["max_position_embeddings"] = std::max<std::int64_t>(context, 2048);
  return config;
}

bool has_weights(const models::Place& place) {
  std::error_code ignored;
  if (place.weights == place.config) return place.weights.extension() == ".gguf";
  if (!fs::is_directory(place.weights, ignored)) return fs::exists(place.weights, ignored);
  return std::any_of(fs::directory_iterator(place.weights),
                     fs::directory_iterator(),
                     [](const auto& e) { return e.path().extension() == ".safetensors"; });
}

/// The dtype that most of a file's numbers are kept in, as near as one that is written here comes.
DType main_dtype(const models::Tensors& tensors) {
  std::map<DType, std::int64_t> numbers;
  for (const auto& [key, view] : tensors.by_name) {
    if (view.shape.size() == 2) numbers[view.dtype] += view.size();
  }
  DType most = DType::kF32;
  std::int64_t count = -1;
  for (const auto& [dtype, n] : numbers) {
    if (n > count) most = dtype;
    count = std::max(count, n);
  }
  constexpr DType kWritten[] = {DType::kF32,
                                DType::kF16,
                                DType::kBF16,
                                DType::kQ8_0,
                                DType::kQ4_0,
                                DType::kQ4_1,
                                DType::kQ5_0,
                                DType::kQ5_1};
  if (std::find(std::begin(kWritten), std::end(kWritten), most) != std::end(kWritten)) return most;
  if (!is_quantised(most)) return DType::kBF16;
  const double bits = static_cast<double>(bytes_of(most, 256)) / 32.0;
  return bits < 5.0 ? DType::kQ4_0 : bits < 6.2 ? DType::kQ5_0 : DType::kQ8_0;
}

Draft draft_of_model(const Call& call, const Asked& asked, std::optional<PlanFile>& file) {
  if (!asked.inner.empty() || !asked.head_width.empty()) {
    expected(call,
             asked.inner.empty() ? "--head-width" : "--inner",
             text(call.screen.lang, Word::kPlanWithoutModel),
             asked.model.front());
  }
  const models::Place place = models::find(asked.model.front());
  Draft draft;
  if (has_weights(place)) {
    const models::ModelFiles files = models::open_model(place, false);
    draft.config = files.config;
    draft.dtype = main_dtype(files.tensors);
    file.emplace();
    for (const auto& [key, view] : files.tensors.by_name) file->bytes += view.bytes();
    const models::Weights weights(
        files.tensors, models::read_blueprint(draft.config).prefixes, Linear::Layout::kOutIn);
    file->parameters = weights.parameters();
    architect::look_into(draft,
                         [&](const std::string& name) { return weights.find(name) != nullptr; });
  } else {
    draft.config = json::parse(read_file(place.config, std::size_t{16} << 20), "config.json");
    for (const char* key : {"dtype", "torch_dtype"}) {
      const auto word = json::get_or<std::string>(draft.config, key, "", "config.json");
      if (word == "float32") draft.dtype = DType::kF32;
      if (word == "float16") draft.dtype = DType::kF16;
    }
  }
  models::Sizes sizes;
  const auto number = [&](const std::string& word, const char* option, std::int64_t most) {
    return word.empty() ? std::optional<std::int64_t>()
                        : parse_integers(call, option, word, 1, most).front();
  };
  sizes.layers = number(asked.layers, "--layers", 4096);
  sizes.width = number(asked.width, "--model-width", kMost);
  sizes.heads = number(asked.heads, "--heads", 65536);
  sizes.groups = number(asked.groups, "--groups", 65536);
  sizes.vocabulary = number(asked.vocabulary, "--vocabulary", kMost);
  if (sizes.layers || sizes.width || sizes.heads || sizes.groups || sizes.vocabulary) {
    draft.config = models::resized(draft.config, sizes);
    file.reset();
  }
  return draft;
}

Draft draft_of(const Call& call, const Asked& asked, std::optional<PlanFile>& file) {
  const std::int64_t context =
      asked.context.empty() ? 0 : parse_tokens(call, "--context", asked.context);
  Draft draft;
  if (asked.model.empty()) {
    draft.config = config_of_numbers(call, asked, context);
  } else if (asked.model.size() == 1) {
    draft = draft_of_model(call, asked, file);
  } else {
    throw Error(ErrorCode::kUsage, std::string(text(call.screen.lang, Word::kPlanNeeds)));
  }
  const models::Blueprint b = models::read_blueprint(draft.config);
  draft.context = context > 0 ? context : std::min<std::int64_t>(b.positions, 2048);
  if (!asked.dtype.empty()) {
    draft.dtype = parse_dtype(call, "--dtype", asked.dtype);
    file.reset();
  }
  if (!asked.cache.empty()) draft.cache = parse_cache(call, asked.cache);
  if (!asked.batch.empty()) draft.batch = parse_integer(call, "--batch", asked.batch, 1, 65536);
  return draft;
}

/// Other heads and groups at equal width: those asked for, else halves, doubles and fewer groups.
std::vector<std::pair<std::int64_t, std::int64_t>> variations(const Call& call,
                                                              const Asked& asked,
                                                              const Figures& own) {
  std::vector<std::int64_t> heads, groups;
  if (asked.heads.find(',') != std::string::npos) {
    heads = parse_integers(call, "--heads", asked.heads, 1, 65536);
  } else {
    const std::int64_t all = own.heads * own.head_width;
    for (const std::int64_t H :
         {own.heads / 4, own.heads / 2, own.heads, own.heads * 2, own.heads * 4}) {
      if (H > 0 && all % H == 0 && all / H >= 8 && all / H % 2 == 0) heads.push_back(H);
    }
  }
  const bool listed = asked.groups.find(',') != std::string::npos;
  if (listed) groups = parse_integers(call, "--groups", asked.groups, 1, 65536);
  std::vector<std::pair<std::int64_t, std::int64_t>> out;
  for (const std::int64_t H : heads) {
    if (listed) {
      for (const std::int64_t G : groups) {
        if (H % G == 0) out.emplace_back(H, G);
      }
      continue;
    }
    if (H == own.heads) {
      for (std::int64_t G = H; G >= 1; G = G % 2 == 0 ? G / 2 : 0) out.emplace_back(H, G);
      out.emplace_back(H, own.groups);
      out.emplace_back(H, 1);
    } else {
      // One in so many heads has a key and a value, as in the model itself.
      const std::int64_t share = own.heads / own.groups;
      out.emplace_back(H, H % share == 0 ? H / share : 1);
    }
  }
  out.emplace_back(own.heads, own.groups);
  std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first < b.first : a.second > b.second;
  });
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

std::vector<PlanRow> rows_of(const Call& call, const Asked& asked, const Draft& draft) {
  const Figures own = architect::figures(draft);
  const bool chosen =
      asked.heads.find(',') != std::string::npos || asked.groups.find(',') != std::string::npos;
  std::vector<PlanRow> rows;
  for (const auto& [heads, groups] : variations(call, asked, own)) {
    PlanRow row;
    row.own = heads == own.heads && groups == own.groups;
    try {
      row.draft = row.own ? draft : architect::with_heads(draft, heads, groups);
      row.figures = architect::figures(row.draft);
    } catch (const Error&) {
      // A family that has no such heads; what was asked for in so many words is an error.
      if (chosen) throw;
      continue;
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

/// Twice, in opposite orders, and the better of both counts: what else a machine does rarely meets the same row again.
void measure(const Call& call, std::vector<PlanRow>& rows) {
  const Lang lang = call.screen.lang;
  Progress progress(lang, std::string(text(lang, Word::kPlanMeasuring)));
  architect::MeasureOptions options;
  options.seconds /= 2.0;
  // The model itself first: what stands around its layers is the same in the others.
  std::vector<PlanRow*> order;
  for (PlanRow& row : rows) {
    if (row.own)
      order.insert(order.begin(), &row);
    else
      order.push_back(&row);
  }
  std::size_t runs = 0;
  for (int round = 0; round < 2; ++round) {
    for (PlanRow* row : order) {
      progress.now(say(lang,
                       Word::kPlanMeasuringOf,
                       ++runs,
                       2 * order.size(),
                       counted(lang, Word::kHeads, row->figures.heads),
                       counted(lang, Word::kGroups, row->figures.groups)));
      options.around = row->own ? 0.0 : order.front()->speeds->around;
      const architect::Speeds now = architect::measure(row->draft, options);
      row->speeds = row->speeds ? architect::better(*row->speeds, now) : now;
    }
    std::reverse(order.begin() + 1, order.end());
  }
}

}  // namespace

int plan(std::span<const std::string> arguments, Lang lang, std::string& out) {
  Asked asked;
  Parser parser("plan", lang);
  parser.positionals(asked.model);
  parser.option("--layers", asked.layers);
  parser.option("--model-width", asked.width);
  parser.option("--inner", asked.inner);
  parser.option("--heads", asked.heads);
  parser.option("--groups", asked.groups);
  parser.option("--head-width", asked.head_width);
  parser.option("--vocabulary", asked.vocabulary);
  parser.option("--context", asked.context);
  parser.option("--batch", asked.batch);
  parser.option("--dtype", asked.dtype);
  parser.option("--cache", asked.cache);
  parser.option("--memory", asked.memory);
  parser.option("-o,--output", asked.output);
  parser.flag("--no-measure", asked.no_measure);
  const Call call = parser.parse(arguments);
  if (call.help) {
    out += text(lang, Word::kHelpPlan);
    return 0;
  }
  if (!asked.output.empty()) {
    const fs::path path(asked.output);
    if (path.extension() != ".svg" && path.extension() != ".html")
      expected(call, "--output", "FILE.svg | FILE.html", asked.output);
    check_writable(call, path);
  }
  Plan plan;
  if (!asked.memory.empty()) plan.budget = parse_bytes(call, "--memory", asked.memory);
  const Draft draft = draft_of(call, asked, plan.file);
  plan.rows = rows_of(call, asked, draft);
  if (plan.budget > 0) plan.advice = architect::advise(draft, plan.budget);
  if (!asked.no_measure) measure(call, plan.rows);
  if (!asked.output.empty()) write_plan_chart(call, plan, asked.output);
  if (call.json)
    write_plan_json(out, plan);
  else
    write_plan_text(out, call, plan);
  const bool fits = !plan.advice || plan.advice->groups.has_value();
  return fits ? 0 : 1;
}

}  // namespace headscope::cli
