#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "architect/plan.h"
#include "cli/arguments.h"

/// What `headscope plan` found, and how it is shown.
namespace headscope::cli {

/// What a model's file holds, where there is one.
struct PlanFile {
  std::int64_t parameters = 0;
  std::uint64_t bytes = 0;
};

/// A model of some heads and groups.
struct PlanRow {
  architect::Draft draft;
  architect::Figures figures;
  std::optional<architect::Speeds> speeds;
  bool own = false;  ///< what was asked for; the others are its variations
};

struct Plan {
  std::vector<PlanRow> rows;
  std::optional<PlanFile> file;
  std::uint64_t budget = 0;  ///< 0: none
  std::optional<architect::Advice> advice;

  [[nodiscard]] const PlanRow& own() const {
    return *std::find_if(rows.begin(), rows.end(), [](const PlanRow& row) { return row.own; });
  }
};

/// Errors: kIo.
void write_plan_chart(const Call& call, const Plan& plan, const std::filesystem::path& path);
void write_plan_text(std::string& out, const Call& call, const Plan& plan);
void write_plan_json(std::string& out, const Plan& plan);

}  // namespace headscope::cli
