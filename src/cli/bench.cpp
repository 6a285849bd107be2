#include <algorithm>
#include <filesystem>
#include <iterator>
#include <memory>
#include <optional>
#include <variant>
#include <vector>

#include "cli/app.h"
#include "cli/arguments.h"
#include "cli/bench_case.h"
#include "cli/bench_model.h"
#include "cli/json_writer.h"
#include "cli/progress.h"
#include "headscope/error.h"
#include "headscope/threads.h"
#include "kernels/isa.h"
#include "kernels/measure.h"
#include "models/find.h"

/// `headscope bench`: how fast this machine is, and how near headscope comes to what it can do.
namespace headscope::cli {

namespace {
using kernels::Peak;
using kernels::Rate;

constexpr std::string_view kGroups[] = {"limits", "focus", "decode", "backward"};

/// One row to measure: what the machine can do at most, or a call of focus.
struct Plan {
  std::string_view group;
  FocusShape shape;          // focus, decode, backward
  std::optional<Peak> peak;  // limits; none: DRAM read
  int threads = 1;           // limits
};

/// One row measured. `value` and `peak` are in flop/s, exp/s or bytes/s.
struct Row {
  Plan plan;
  double seconds = 0.0;
  double value = 0.0;
  double peak = 0.0;

  [[nodiscard]] double share() const { return peak > 0.0 ? value / peak : 0.0; }
};

void plan_limits(std::vector<Plan>& plans) {
  const int most = threads();
  std::vector<std::optional<Peak>> all;
  for (const Peak& peak : kernels::peaks()) all.emplace_back(peak);
  all.emplace_back();
  for (const auto& peak : all) {
    for (int n = 1; n <= most; n = n < most ? std::min(2 * n, most) : n + 1) {
      plans.push_back({"limits", {}, peak, n});
    }
  }
}

void plan_focus(std::vector<Plan>& plans, DType dtype, bool quick) {
  const auto add = [&](std::int64_t heads,
                       std::int64_t T,
                       std::int64_t D,
                       std::string_view options = "plain",
                       std::string_view sight = "none",
                       std::int64_t groups = 0) {
    const FocusShape shape{.dtype = dtype,
                           .heads = heads,
                           .groups = groups == 0 ? heads : groups,
                           .rows = T,
                           .keys = T,
                           .width = D,
                           .options = options,
                           .sight = sight};
    plans.push_back({"focus", shape, {}, threads()});
  };
  const std::int64_t T = quick ? 512 : 2048;
  if (!quick) add(4, 512, 64);
  for (const std::string_view sight : kSights) add(4, T, 64, "plain", sight);
  if (!quick) add(4, 4096, 64);
  add(4, T, 128);
  add(4, T, 64, "causal");
  if (quick) return;
  add(4, T, 64, "window");
  add(32, 1024, 64, "causal", "none", 8);
  add(96, 128, 64);
}

void plan_decode(std::vector<Plan>& plans, DType dtype, bool quick) {
  for (const std::int64_t keys : {8192, 32768}) {
    if (quick && keys > 8192) continue;
    const FocusShape shape{.dtype = dtype,
                           .heads = 32,
                           .groups = 8,
                           .rows = 1,
                           .keys = keys,
                           .width = 128,
                           .options = "causal"};
    plans.push_back({"decode", shape, {}, threads()});
  }
}

void plan_backward(std::vector<Plan>& plans, DType dtype, bool quick) {
  FocusShape shape{.dtype = dtype};
  shape.rows = shape.keys = quick ? 256 : 2048;
  plans.push_back({"backward", shape, {}, threads()});
  shape.options = "causal";
  plans.push_back({"backward", shape, {}, threads()});
  if (quick) return;
  shape.options = "plain";
  shape.width = 128;
  plans.push_back({"backward", shape, {}, threads()});
}

std::vector<Plan> plan(const std::vector<std::string>& groups, bool quick) {
  const auto wanted = [&](std::string_view group) {
    return groups.empty() || std::find(groups.begin(), groups.end(), group) != groups.end();
  };
  std::vector<Plan> plans;
  if (wanted("limits")) plan_limits(plans);
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    if (wanted("focus")) plan_focus(plans, dtype, quick);
  }
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    if (wanted("decode")) plan_decode(plans, dtype, quick);
  }
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    if (wanted("backward")) plan_backward(plans, dtype, quick);
  }
  return plans;
}

std::string name_of(const Plan& plan) {
  if (plan.group == "limits") return std::string(plan.peak ? plan.peak->name : "dram_read");
  return std::string(plan.group) + ' ' + plan.shape.name();
}

/// Measures rows; keeps the memory that DRAM is read from.
class Measurer {
 public:
  explicit Measurer(bool quick) : quick_(quick) {}

  Row measure(const Plan& plan) {
    Row row{plan};
    if (plan.group == "limits") {
      const Rate rate = plan.peak ? kernels::rate_of(*plan.peak, plan.threads, peak_seconds())
                                  : dram().read(plan.threads, reads());
      row.seconds = rate.seconds;
      row.value = rate.per_second;
      return row;
    }
    const bool decode = plan.group == "decode";
    row.peak = (decode ? dram().read(threads(), reads())
                       : kernels::peak_flops(plan.shape.dtype, peak_seconds()))
                   .per_second;
    const bool backward = plan.group == "backward";
    FocusCase call(plan.shape);
    if (backward) call.prepare_backward();
    row.seconds = kernels::median_seconds(
        [&] { backward ? call.run_backward() : call.run(); },
        {.seconds = quick_ ? 0.05 : 0.5, .least = quick_ ? 2 : 3, .most = quick_ ? 20 : 200});
    row.value = (decode     ? call.cache_bytes()
                 : backward ? call.backward_flop()
                            : call.flop()) /
                row.seconds;
    return row;
  }

 private:
  [[nodiscard]] double peak_seconds() const { return quick_ ? 0.004 : 0.02; }
  [[nodiscard]] int reads() const { return quick_ ? 3 : 5; }
  const kernels::DramReader& dram() {
    if (!dram_) dram_.emplace(std::size_t{quick_ ? 192U : 512U} << 20U);
    return *dram_;
  }

  bool quick_;
  std::optional<kernels::DramReader> dram_;
};

std::vector<Row> measure_all(const std::vector<Plan>& plans, bool quick, const Screen& screen) {
  Progress progress(screen.lang, "bench");
  Measurer measurer(quick);
  std::vector<Row> rows;
  const double start = kernels::now();
  for (const Plan& plan : plans) {
    if (!rows.empty()) {
      const double each = (kernels::now() - start) / static_cast<double>(rows.size());
      const auto left =
          static_cast<std::int64_t>(each * static_cast<double>(plans.size() - rows.size()) + 0.5);
      progress.now(say(
          screen.lang, Word::kBenchProgress, rows.size() + 1, plans.size(), name_of(plan), left));
    }
    rows.push_back(measurer.measure(plan));
  }
  return rows;
}

struct Unit {
  double size;
  std::string_view name;
};

Unit unit_of(const Row& row) {
  if (row.plan.group == "decode") return {1e9, "GB/s"};
  if (row.plan.group != "limits") return {1e12, "TFLOP/s"};
  if (!row.plan.peak) return {1e9, "GB/s"};
  if (row.plan.peak->unit == "flop") return {1e12, "TFLOP/s"};
  return {1e9, "Gexp/s"};
}

void write_row(JsonWriter& json, const Row& row) {
  const FocusShape& shape = row.plan.shape;
  const Unit unit = unit_of(row);
  json.begin_object().field("name", name_of(row.plan));
  if (row.plan.group == "limits") {
    json.field("isa", row.plan.peak ? row.plan.peak->isa : kernels::best_vectors());
    json.field("threads", row.plan.threads).field("seconds", row.seconds);
    json.field("value", row.value / unit.size).field("unit", unit.name).end_object();
    return;
  }
  json.field("isa", kernels::table().name).field("dtype", headscope::name(shape.dtype));
  json.field("heads", shape.heads).field("groups", shape.groups);
  json.field("T", shape.keys).field("D", shape.width);
  json.field("options", shape.options).field("sight", shape.sight);
  json.field("seconds", row.seconds);
  const bool decode = row.plan.group == "decode";
  json.field(decode ? "gbytes" : "tflops", row.value / unit.size);
  json.field(decode ? "peak_gbytes" : "peak_tflops", row.peak / unit.size);
  json.field("share", row.share()).end_object();
}

std::string json_of(const std::vector<Row>& rows) {
  JsonWriter json;
  json.begin_array();
  for (const Row& row : rows) write_row(json, row);
  json.end_array();
  return std::move(json).take();
}

std::string line_of(const Screen& screen, const Row& row) {
  const Unit unit = unit_of(row);
  const bool limits = row.plan.group == "limits";
  std::string name =
      limits ? name_of(row.plan) + ' ' + std::string(row.plan.peak ? row.plan.peak->isa : "")
             : row.plan.shape.name();
  if (limits) {
    name = left(name, 24) + counted(screen.lang, Word::kBenchThreads, row.plan.threads);
  }
  std::string line =
      "  " + left(name, 38) + right(milliseconds(screen.lang, row.seconds * 1e3), 9) +
      right(figure(row.value / unit.size), 7) + ' ' + left(std::string(unit.name), 8);
  if (!limits)
    line += share(row.share()) + ' ' + bar(row.share(), screen.width - columns(line) - 5);
  return trimmed(line) + '\n';
}

std::string table_of(const Screen& screen, const std::vector<Row>& rows) {
  std::string out;
  std::string_view group;
  for (const Row& row : rows) {
    if (row.plan.group != group) {
      if (!group.empty()) out += '\n';
      group = row.plan.group;
      const Word title = group == "limits"   ? Word::kBenchLimits
                         : group == "focus"  ? Word::kBenchFocus
                         : group == "decode" ? Word::kBenchDecode
                                             : Word::kBenchBackward;
      out += paint(screen, Paint::kTitle, text(screen.lang, title)) + '\n';
    }
    out += line_of(screen, row);
  }
  out += '\n' +
         wrap("  " + say(screen.lang,
                         Word::kBenchNote,
                         kernels::table().name,
                         counted(screen.lang, Word::kBenchThreads, threads())),
              screen.width,
              2) +
         '\n';
  return out;
}

void check_groups(const Call& call, const std::vector<std::string>& groups) {
  for (const std::string& group : groups) {
    if (std::find(std::begin(kGroups), std::end(kGroups), group) == std::end(kGroups)) {
      throw Error(ErrorCode::kUsage,
                  say(call.screen.lang,
                      Word::kBenchExpected,
                      fmt::format("{}", fmt::join(kGroups, ", ")),
                      clip(clean(group), 40)));
    }
  }
}

// A word that is no group but names something that is there.
bool names_a_model(const std::vector<std::string>& words) {
  if (words.size() != 1 ||
      std::find(std::begin(kGroups), std::end(kGroups), words[0]) != std::end(kGroups))
    return false;
  std::error_code ignored;
  if (std::filesystem::exists(words[0], ignored)) return true;
  try {
    (void)models::find(words[0]);
    return true;
  } catch (const Error&) {
    return false;
  }
}
}  // namespace

int bench(std::span<const std::string> arguments, Lang lang, std::string& out) {
  Parser parser("bench", lang);
  std::vector<std::string> groups;
  bool quick = false;
  parser.positionals(groups);
  std::string cache;
  parser.flag("--quick", quick);
  parser.option("--cache", cache);
  const Call call = parser.parse(arguments);
  if (call.help) {
    out += text(lang, Word::kHelpBench);
    return 0;
  }
  if (names_a_model(groups)) {
    const DType kept = cache.empty() ? DType::kF32 : parse_cache(call, cache);
    bench_model(call, groups[0], quick, kept, out);
    return 0;
  }
  if (!cache.empty())
    throw Error(ErrorCode::kUsage,
                say(lang, Word::kExpectedFound, call.verb, "--cache", "MODEL", clean(cache)));
  check_groups(call, groups);
  const std::vector<Row> rows = measure_all(plan(groups, quick), quick, call.screen);
  out += call.json ? json_of(rows) : table_of(call.screen, rows);
  return 0;
}

}  // namespace headscope::cli
