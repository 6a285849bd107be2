#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "architect/chart.h"
#include "cli/json_writer.h"
#include "cli/plan.h"
#include "headscope/safetensors.h"
#include "headscope/threads.h"

namespace headscope::cli {

namespace {

namespace fs = std::filesystem;
using architect::Figures;
using architect::Speeds;

/// Columns of a table before those that are measured.
constexpr std::ptrdiff_t kFigures = 6;

std::string per_second(double x) { return x > 0.0 ? figure(x) : "-"; }

std::string advice_line(const Call& call, const Plan& plan) {
  const Lang lang = call.screen.lang;
  const PlanRow& own = plan.own();
  const architect::Advice& a = *plan.advice;
  const std::string budget = bytes(plan.budget);
  const std::string context = large(own.draft.context);
  std::string out;
  if (a.groups) {
    const bool all = *a.groups >= own.figures.heads;
    out = all ? say(lang, Word::kPlanFitsAll, budget, context)
              : say(lang, Word::kPlanFitsGroups, budget, context, *a.groups);
  } else {
    out = say(lang, Word::kPlanFitsNot, budget, context);
  }
  if (own.figures.memory() > plan.budget) {
    out += "; ";
    out += a.context > 0 ? say(lang, Word::kPlanContext, a.context, own.figures.groups)
                         : std::string(text(lang, Word::kPlanNoContext));
    out += "; " + say(lang, Word::kPlanLeast, bytes(a.least), name(a.dtype));
  }
  return out;
}

void write_head(std::string& out, const Call& call, const Plan& plan) {
  const Lang lang = call.screen.lang;
  const PlanRow& own = plan.own();
  const Figures& f = own.figures;
  out += paint(call.screen,
               Paint::kTitle,
               say(lang,
                   Word::kPlanTitle,
                   clean(f.family),
                   counted(lang, Word::kLayers, f.layers),
                   counted(lang, Word::kHeads, f.heads),
                   f.groups,
                   f.head_width,
                   f.width)) +
         '\n';
  const auto line = [&](Word word, const std::string& value) {
    out += "  " + left(text(lang, word), 22) + value + '\n';
  };
  line(Word::kPlanParameters, fmt::format("{} ({})", large(f.parameters), f.parameters));
  const std::string read = large(std::llround(f.read_flop));
  line(Word::kPlanFlop,
       f.generates ? say(lang, Word::kPlanFlopValue, read, large(std::llround(f.decode_flop)))
                   : say(lang, Word::kPlanFlopRead, read));
  line(Word::kPlanWeights, fmt::format("{}, {}", bytes(f.weight_bytes), name(f.kept)));
  if (f.causal) {
    line(Word::kPlanCache,
         say(lang,
             Word::kPlanCacheValue,
             bytes(f.cache_bytes),
             name(own.draft.cache),
             counted(lang, Word::kTokens, own.draft.context),
             own.draft.batch));
  }
  line(Word::kPlanWorking, bytes(f.working_bytes));
  if (f.training_bytes > 0) line(Word::kPlanTraining, bytes(f.training_bytes));
  if (plan.file)
    line(Word::kPlanFile,
         say(lang, Word::kPlanFileValue, plan.file->parameters, bytes(plan.file->bytes)));
}

const char* fit_sign(const Plan& plan, const PlanRow& row) {
  return row.figures.memory() <= plan.budget ? "✓" : "✗";
}

/// What the table's words mean.
std::string note_of(const Call& call, const Plan& plan) {
  const Lang lang = call.screen.lang;
  std::string out =
      say(lang, Word::kPlanNote, counted(lang, Word::kTokens, plan.own().draft.context));
  if (plan.budget > 0) out += "; " + say(lang, Word::kPlanFits, bytes(plan.budget));
  return out;
}

/// With a budget, a sign stands behind the memory, in a column of its own.
std::vector<std::vector<std::string>> table_of(const Call& call, const Plan& plan) {
  const Lang lang = call.screen.lang;
  std::vector<std::vector<std::string>> out;
  std::vector<std::string> head;
  for (const Word word : {Word::kPlanColumnHeads,
                          Word::kPlanColumnGroups,
                          Word::kPlanColumnWidth,
                          Word::kPlanColumnParameters,
                          Word::kPlanColumnCache,
                          Word::kPlanColumnMemory,
                          Word::kPlanColumnRead,
                          Word::kPlanColumnDecode,
                          Word::kPlanColumnTrain})
    head.emplace_back(text(lang, word));
  if (plan.budget > 0) head.insert(head.begin() + kFigures, "");
  out.push_back(std::move(head));
  for (const PlanRow& row : plan.rows) {
    const Figures& f = row.figures;
    const Speeds s = row.speeds.value_or(Speeds());
    std::vector<std::string> cells = {fmt::format("{}{}", f.heads, row.own ? "*" : ""),
                                      std::to_string(f.groups),
                                      std::to_string(f.head_width),
                                      large(f.parameters),
                                      f.causal ? bytes(f.cache_bytes) : "-",
                                      bytes(f.memory()),
                                      per_second(s.read),
                                      per_second(s.decode),
                                      per_second(s.train)};
    if (plan.budget > 0) cells.insert(cells.begin() + kFigures, fit_sign(plan, row));
    out.push_back(std::move(cells));
  }
  return out;
}

/// A budget far above all bars would leave nothing of them: there the signs below them do.
void budget_line(const Call& call, const Plan& plan, architect::Line& line) {
  constexpr double kFar = 4.0;
  double most = 0.0;
  for (const architect::Mark& mark : line.marks) most = std::max(most, mark.y);
  const auto budget = static_cast<double>(plan.budget);
  if (budget > kFar * most) return;
  line.base = budget;
  line.base_name = say(call.screen.lang, Word::kPlanBudget, bytes(plan.budget));
}

}  // namespace

void write_plan_text(std::string& out, const Call& call, const Plan& plan) {
  const Lang lang = call.screen.lang;
  write_head(out, call, plan);
  const auto table = table_of(call, plan);
  const bool measured = plan.own().speeds.has_value();
  double most = 0.0;
  const auto speed = [](const PlanRow& row) {
    const Speeds s = row.speeds.value_or(Speeds());
    return s.decode > 0.0 ? s.decode : s.read;
  };
  for (const PlanRow& row : plan.rows) most = std::max(most, speed(row));
  std::vector<int> widths = {6, 7, 8, 9, 9, 9, 8, 8, 8};
  if (plan.budget > 0) widths.insert(widths.begin() + kFigures, 2);
  if (!measured) widths.resize(widths.size() - 3);
  out += '\n';
  for (std::size_t n = 0; n < table.size(); ++n) {
    std::string line = " ";
    for (std::size_t c = 0; c < widths.size(); ++c) line += right(table[n][c], widths[c]);
    if (n > 0) {
      const PlanRow& row = plan.rows[n - 1];
      const int room = call.screen.width - columns(line) - 2;
      if (measured && room > 3) line += "  " + bar(speed(row) / most, std::min(room, 30));
      if (plan.budget > 0)
        line = paint(
            call.screen, row.figures.memory() <= plan.budget ? Paint::kGood : Paint::kBad, line);
    }
    out += trimmed(line) + '\n';
  }
  std::string note = note_of(call, plan);
  if (measured) {
    double seconds = 0.0;
    for (const PlanRow& row : plan.rows) seconds += row.speeds->seconds;
    note += "; " + say(lang,
                       Word::kPlanMeasured,
                       counted(lang, Word::kBenchThreads, threads()),
                       plan.own().draft.batch,
                       counted(lang, Word::kTokens, architect::train_length(plan.own().draft)),
                       seconds);
  }
  out += "  " + wrap(note, call.screen.width, 2) + '\n';
  if (plan.advice) {
    out += "  " +
           paint(call.screen,
                 plan.advice->groups ? Paint::kGood : Paint::kBad,
                 wrap(advice_line(call, plan), call.screen.width, 2)) +
           '\n';
  }
}

void write_plan_json(std::string& out, const Plan& plan) {
  const PlanRow& own = plan.own();
  JsonWriter json;
  json.begin_object().field("headscope", HEADSCOPE_VERSION).field("verb", "plan");
  json.field("family", own.figures.family).field("threads", threads());
  json.field("layers", own.figures.layers).field("width", own.figures.width);
  json.field("context", own.draft.context).field("batch", own.draft.batch);
  json.field("dtype", name(own.figures.kept)).field("cache", name(own.draft.cache));
  if (plan.file)
    json.field("file_parameters", plan.file->parameters)
        .field("file_bytes", static_cast<std::int64_t>(plan.file->bytes));
  json.key("rows").begin_array();
  for (const PlanRow& row : plan.rows) {
    const Figures& f = row.figures;
    json.begin_object().field("own", row.own).field("heads", f.heads).field("groups", f.groups);
    json.field("head_width", f.head_width).field("parameters", f.parameters);
    json.field("read_flop", f.read_flop).field("decode_flop", f.decode_flop);
    json.field("weight_bytes", static_cast<std::int64_t>(f.weight_bytes));
    json.field("cache_bytes", static_cast<std::int64_t>(f.cache_bytes));
    json.field("working_bytes", static_cast<std::int64_t>(f.working_bytes));
    json.field("training_bytes", static_cast<std::int64_t>(f.training_bytes));
    if (row.speeds) {
      json.field("read_tokens_per_second", row.speeds->read);
      json.field("decode_tokens_per_second", row.speeds->decode);
      json.field("train_tokens_per_second", row.speeds->train);
      json.field("measured_seconds", row.speeds->seconds);
    }
    if (plan.budget > 0) json.field("fits", f.memory() <= plan.budget);
    json.end_object();
  }
  json.end_array();
  if (plan.advice) {
    json.key("advice").begin_object();
    json.field("budget_bytes", static_cast<std::int64_t>(plan.budget));
    json.field("most_groups", plan.advice->groups.value_or(0));
    json.field("longest_context", plan.advice->context);
    json.field("least_bytes", static_cast<std::int64_t>(plan.advice->least));
    json.field("least_dtype", name(plan.advice->dtype)).end_object();
  }
  json.end_object();
  out += std::move(json).take();
}

void write_plan_chart(const Call& call, const Plan& plan, const fs::path& path) {
  const Lang lang = call.screen.lang;
  std::vector<architect::Panel> panels;
  const auto panel = [&](Word title, Word unit, auto&& value) {
    const bool budget = title == Word::kPlanColumnMemory && plan.budget > 0;
    architect::Panel p;
    p.title = text(lang, title);
    if (budget) p.title += ": " + say(lang, Word::kPlanFits, bytes(plan.budget));
    p.x = text(lang, Word::kPlanAxis);
    p.y = text(lang, unit);
    p.bars = true;
    architect::Line line;
    for (const PlanRow& row : plan.rows) {
      architect::Mark mark;
      mark.label = fmt::format("{}/{}", row.figures.heads, row.figures.groups);
      if (budget) mark.label += fmt::format(" {}", fit_sign(plan, row));
      mark.y = mark.low = mark.high = value(row);
      line.marks.push_back(std::move(mark));
    }
    const bool empty =
        std::none_of(line.marks.begin(), line.marks.end(), [](const auto& m) { return m.y > 0.0; });
    if (empty) return;
    if (budget) budget_line(call, plan, line);
    p.lines = {std::move(line)};
    panels.push_back(std::move(p));
  };
  panel(Word::kPlanColumnMemory, Word::kPlanUnitBytes, [](const PlanRow& row) {
    return static_cast<double>(row.figures.memory());
  });
  const auto speed = [](double Speeds::*which) {
    return [which](const PlanRow& row) { return row.speeds ? (*row.speeds).*which : 0.0; };
  };
  panel(Word::kPlanReading, Word::kPlanUnitSpeed, speed(&Speeds::read));
  panel(Word::kPlanDecoding, Word::kPlanUnitSpeed, speed(&Speeds::decode));
  panel(Word::kPlanTrains, Word::kPlanUnitSpeed, speed(&Speeds::train));
  const std::string svg = architect::chart_svg(panels);
  const Figures& f = plan.own().figures;
  const std::string title = say(lang,
                                Word::kPlanTitle,
                                f.family,
                                counted(lang, Word::kLayers, f.layers),
                                counted(lang, Word::kHeads, f.heads),
                                f.groups,
                                f.head_width,
                                f.width);
  std::string note = note_of(call, plan);
  if (plan.advice) note += "; " + advice_line(call, plan);
  write_file(path,
             std::string_view(
                 path.extension() == ".html"
                     ? architect::chart_page(
                           title, lang == Lang::kRu ? "ru" : "en", svg, table_of(call, plan), note)
                     : svg));
}

}  // namespace headscope::cli
