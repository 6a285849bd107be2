#include <fmt/format.h>

#include <array>

#include "formats/json.h"
#include "tokenizers/jinja_run.h"
#include "tokenizers/jinja_text.h"

/// What stands behind `is`.
namespace headscope::jinja {

namespace {

using Answer = bool (*)(Run&, const Value&, const Bound&);

struct Test {
  std::string_view names;  ///< with spaces around each
  std::string_view parameters;
  Answer body;
};

std::int64_t whole(const Value& value) {
  if (value.is_integer() || value.is_bool()) return value.integer();
  throw Failure{ErrorCode::kInput,
                fmt::format("expected a whole number, found {}", type_name(value))};
}

bool is_iterable(const Value& v) {
  return v.is_text() || v.is_sequence() || v.is_dict() || v.is_undefined();
}

constexpr std::array<Test, 28> kTests = {{
    {" defined ", "", [](Run&, const Value& v, const Bound&) { return !v.is_undefined(); }},
    {" undefined ", "", [](Run&, const Value& v, const Bound&) { return v.is_undefined(); }},
    {" none ", "", [](Run&, const Value& v, const Bound&) { return v.is_none(); }},
    {" boolean ", "", [](Run&, const Value& v, const Bound&) { return v.is_bool(); }},
    {" true ", "", [](Run&, const Value& v, const Bound&) { return v.is_bool() && v.boolean(); }},
    {" false ", "", [](Run&, const Value& v, const Bound&) { return v.is_bool() && !v.boolean(); }},
    {" integer ", "", [](Run&, const Value& v, const Bound&) { return v.is_integer(); }},
    {" float ", "", [](Run&, const Value& v, const Bound&) { return v.is_float(); }},
    {" number ", "", [](Run&, const Value& v, const Bound&) { return v.is_number(); }},
    {" string ", "", [](Run&, const Value& v, const Bound&) { return v.is_text(); }},
    {" mapping ", "", [](Run&, const Value& v, const Bound&) { return v.is_dict(); }},
    {" iterable ", "", [](Run&, const Value& v, const Bound&) { return is_iterable(v); }},
    {" sequence ", "", [](Run&, const Value& v, const Bound&) { return is_iterable(v); }},
    {" callable ",
     "",
     [](Run&, const Value& v, const Bound&) { return v.is_object() && v.object()->callable(); }},
    {" lower ",
     "",
     [](Run& run, const Value& v, const Bound&) { return is_all(run.str(v), Letters::kLower); }},
    {" upper ",
     "",
     [](Run& run, const Value& v, const Bound&) { return is_all(run.str(v), Letters::kUpper); }},
    {" odd ", "", [](Run&, const Value& v, const Bound&) { return whole(v) % 2 != 0; }},
    {" even ", "", [](Run&, const Value& v, const Bound&) { return whole(v) % 2 == 0; }},
    {" divisibleby ",
     "num",
     [](Run& run, const Value& v, const Bound& a) {
       return truth(binary(run, "%", Value::of(whole(v)), a[0])) == false;
     }},
    {" sameas ",
     "other",
     [](Run& run, const Value& v, const Bound& a) {
       const bool alike = (v.is_bool() == a[0].is_bool()) && (v.is_float() == a[0].is_float());
       return alike && equal(v, a[0], run.budget());
     }},
    {" escaped ", "", [](Run&, const Value&, const Bound&) { return false; }},
    {" in ",
     "seq",
     [](Run& run, const Value& v, const Bound& a) { return contains(a[0], v, run.budget()); }},
    {" eq equalto == ",
     "other",
     [](Run& run, const Value& v, const Bound& a) { return equal(v, a[0], run.budget()); }},
    {" ne != ",
     "other",
     [](Run& run, const Value& v, const Bound& a) { return !equal(v, a[0], run.budget()); }},
    {" lt lessthan < ",
     "other",
     [](Run& run, const Value& v, const Bound& a) { return compare(v, a[0], run.budget()) < 0; }},
    {" le <= ",
     "other",
     [](Run& run, const Value& v, const Bound& a) { return compare(v, a[0], run.budget()) <= 0; }},
    {" gt greaterthan > ",
     "other",
     [](Run& run, const Value& v, const Bound& a) { return compare(v, a[0], run.budget()) > 0; }},
    {" ge >= ",
     "other",
     [](Run& run, const Value& v, const Bound& a) { return compare(v, a[0], run.budget()) >= 0; }},
}};

}  // namespace

bool Run::test(std::string_view name, const Value& value, const Arguments& arguments) {
  budget_.step();
  const std::string wanted = fmt::format(" {} ", name);
  for (const Test& test : kTests) {
    if (test.names.find(wanted) == std::string_view::npos) continue;
    return test.body(*this, value, Bound(name, test.parameters, arguments));
  }
  throw Failure{ErrorCode::kUnsupported,
                "expected a test of Jinja after is, found " + json::quote(name)};
}

}  // namespace headscope::jinja
