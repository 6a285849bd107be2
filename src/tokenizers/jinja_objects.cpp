#include "tokenizers/jinja_objects.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "tokenizers/jinja_text.h"

namespace headscope::jinja {

namespace {

[[noreturn]] void fail(std::string message) {
  throw Failure{ErrorCode::kInput, std::move(message)};
}

Value make_range(Run& run, const Value&, const Arguments& arguments) {
  const Bound bound("range", "start stop step", arguments);
  constexpr std::int64_t kLongest = 100'000;  // as in Jinja's sandbox
  const bool one = !bound.given(1);
  const std::int64_t begin = one ? 0 : bound.integer(0, std::nullopt);
  const std::int64_t end = bound.integer(one ? 0 : 1, std::nullopt);
  const std::int64_t step = bound.integer(2, 1);
  if (step == 0) fail("expected a range whose step is not 0");
  List items;
  for (std::int64_t i = begin; step > 0 ? i < end : i > end;) {
    if (static_cast<std::int64_t>(items.size()) == kLongest) {
      fail(fmt::format("expected a range of at most {} numbers", kLongest));
    }
    items.push_back(Value::of(i));
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  return run.list(std::move(items));
}

Dict dict_of(Run& run, const Arguments& arguments) {
  Dict out;
  for (const Value& from : arguments.positional) {
    if (from.is_dict()) {
      for (const auto& [key, value] : from.dict().items) out.set(key, value);
      continue;
    }
    for (const Value& pair : iterate(from, run.budget())) {
      const List both = iterate(pair, run.budget());
      if (both.size() != 2) fail("expected pairs of keys and values to make a dict of");
      out.set(both[0], both[1]);
    }
  }
  for (const auto& [key, value] : arguments.named) out.set(Value::of(key), value);
  run.budget().bytes(out.items.size() * 128);
  return out;
}

Value make_dict(Run& run, const Value&, const Arguments& arguments) {
  return Value::of(dict_of(run, arguments));
}

Value make_namespace(Run& run, const Value&, const Arguments& arguments) {
  auto out = std::make_shared<Namespace>();
  for (const auto& [key, value] : dict_of(run, arguments).items) {
    if (!key.is_text()) fail("expected texts as names in a namespace");
    out->set(key.text(), value);
  }
  return run.keep(std::move(out));
}

Value raise_exception(Run& run, const Value&, const Arguments& arguments) {
  const Bound bound("raise_exception", "message", arguments);
  fail("the template refuses this conversation: " + run.str(bound[0]));
}

Value strftime_now(Run& run, const Value&, const Arguments& arguments) {
  const Bound bound("strftime_now", "format", arguments);
  const std::string& format = bound.text(0);
  if (format.empty()) return Value::of(std::string());
  std::array<char, 1024> buffer;
  const std::size_t n = std::strftime(buffer.data(), buffer.size(), format.c_str(), &run.now());
  if (n == 0) fail("expected a time in fewer letters than strftime_now was asked for");
  return run.text(std::string(buffer.data(), n));
}

struct Global {
  std::string_view name;
  Function::Body body;
};

constexpr std::array<Global, 5> kGlobals = {{
    {"range", make_range},
    {"dict", make_dict},
    {"namespace", make_namespace},
    {"raise_exception", raise_exception},
    {"strftime_now", strftime_now},
}};

Value loop_cycle(Run&, const Value& self, const Arguments& arguments) {
  return static_cast<const Loop&>(*self.object()).cycle(arguments);
}

Value loop_changed(Run& run, const Value& self, const Arguments& arguments) {
  return static_cast<Loop&>(*self.object()).changed(run, arguments);
}

}  // namespace

std::shared_ptr<Scope> functions(Run& run) {
  const auto scope = std::make_shared<Scope>();
  for (const Global& known : kGlobals)
    scope->set(known.name, run.keep(std::make_shared<Function>(known.name, known.body)));
  return scope;
}

std::optional<Value> Namespace::get(std::string_view name) {
  const Value* found = values_.find(name);
  return found == nullptr ? std::nullopt : std::optional<Value>(*found);
}

bool Namespace::set(std::string_view name, Value value) {
  values_.set(name, std::move(value));
  return true;
}

std::optional<Value> Macro::get(std::string_view name) {
  if (name == "name") return Value::of(name_);
  return std::nullopt;
}

void Macro::release() {
  if (scope_) scope_->variables.clear();
  scope_.reset();
}

Value Macro::call(Run& run, const Arguments& arguments) {
  const auto inner = std::make_shared<Scope>(Scope{scope_, {}});
  const std::vector<Parameter>& parameters = stmt_.parameters;
  List more;
  for (std::size_t i = 0; i < arguments.positional.size(); ++i) {
    if (i < parameters.size()) {
      inner->set(parameters[i].name, arguments.positional[i]);
    } else {
      more.push_back(arguments.positional[i]);
    }
  }
  Dict rest;
  for (const auto& [key, value] : arguments.named) {
    const auto known = std::find_if(parameters.begin(),
                                    parameters.end(),
                                    [&name = key](const Parameter& p) { return p.name == name; });
    if (known != parameters.end()) {
      if (static_cast<std::size_t>(known - parameters.begin()) < arguments.positional.size()) {
        fail(fmt::format("expected one value of {} of macro {}, found two", key, name_));
      }
      inner->set(key, value);
    } else if (key == "caller" && stmt_.uses_caller) {
      inner->set(key, value);
    } else if (stmt_.uses_kwargs) {
      rest.set(Value::of(key), value);
    } else {
      fail(fmt::format("expected arguments that macro {} knows, found {}", name_, key));
    }
  }
  if (!more.empty() && !stmt_.uses_varargs) {
    fail(fmt::format("expected at most {} arguments of macro {}, found {}",
                     parameters.size(),
                     name_,
                     arguments.positional.size()));
  }
  for (std::size_t i = arguments.positional.size(); i < parameters.size(); ++i) {
    const Parameter& p = parameters[i];
    const bool given = std::any_of(inner->variables.begin(),
                                   inner->variables.end(),
                                   [&](const auto& known) { return known.first == p.name; });
    if (given) continue;
    inner->set(p.name,
               p.fallback ? run.eval(*p.fallback, inner)
                          : Value::undefined(fmt::format(
                                "expected parameter {} of macro {}, found none", p.name, name_)));
  }
  if (stmt_.uses_varargs) inner->set("varargs", run.list(std::move(more), true));
  if (stmt_.uses_kwargs) inner->set("kwargs", Value::of(std::move(rest)));
  return run.text(run.capture([&] { run.run(stmt_.body, inner); }));
}

std::optional<Value> Loop::get(std::string_view name) {
  const auto at = static_cast<std::int64_t>(at_);
  const auto n = static_cast<std::int64_t>(items_.size());
  if (name == "index") return Value::of(at + 1);
  if (name == "index0") return Value::of(at);
  if (name == "revindex") return Value::of(n - at);
  if (name == "revindex0") return Value::of(n - at - 1);
  if (name == "first") return Value::of(at == 0);
  if (name == "last") return Value::of(at + 1 == n);
  if (name == "length") return Value::of(n);
  if (name == "depth") return Value::of(std::int64_t{depth_} + 1);
  if (name == "depth0") return Value::of(std::int64_t{depth_});
  if (name == "previtem") {
    return at == 0 ? Value::undefined("expected an item before the first of a loop")
                   : items_[at_ - 1];
  }
  if (name == "nextitem") {
    return at + 1 >= n ? Value::undefined("expected an item behind the last of a loop")
                       : items_[at_ + 1];
  }
  return std::nullopt;
}

Value Loop::call(Run& run, const Arguments& arguments) {
  if (!stmt_.recursive) fail("expected a loop that is recursive to call, found one that is not");
  const Bound bound("loop", "items", arguments);
  return run.text(run.capture([&] { run.loop(stmt_, bound[0], scope_, depth_ + 1); }));
}

void Loop::release() {
  items_.clear();
  at_ = 0;
  seen_.reset();
  scope_.reset();
}

Value Loop::cycle(const Arguments& arguments) const {
  if (arguments.positional.empty()) fail("expected something to cycle through, found nothing");
  return arguments.positional[at_ % arguments.positional.size()];
}

Value Loop::changed(Run& run, const Arguments& arguments) {
  const List& now = arguments.positional;
  const bool same =
      seen_.has_value() && seen_->size() == now.size() &&
      std::equal(now.begin(), now.end(), seen_->begin(), [&](const Value& a, const Value& b) {
        return equal(a, b, run.budget());
      });
  if (!same) seen_ = now;
  return Value::of(!same);
}

Value Function::call(Run& run, const Arguments& arguments) {
  if (body_ != nullptr) return body_(run, self_, arguments);
  return *call_method(run, self_, name_, arguments);
}

Value Run::attribute(const Value& of, std::string_view name) {
  if (of.is_undefined()) fail(of.complaint());
  if (name.starts_with("__")) {
    fail(fmt::format("expected an attribute that templates may see, found {}", name));
  }
  if (of.is_object()) {
    if (auto found = of.object()->get(name)) return *std::move(found);
    if (dynamic_cast<Loop*>(of.object().get()) != nullptr) {
      if (name == "cycle") return keep(std::make_shared<Function>(name, loop_cycle, of));
      if (name == "changed") return keep(std::make_shared<Function>(name, loop_changed, of));
    }
  } else if (has_method(of, name)) {
    return keep(std::make_shared<Function>(name, nullptr, of));
  }
  if (of.is_dict()) {
    if (const Value* found = of.dict().find(name)) return *found;
  }
  return Value::undefined(fmt::format("expected {} with \"{}\", found none", type_name(of), name));
}

Value Run::item(const Value& of, const Value& key) {
  if (of.is_undefined()) fail(of.complaint());
  if (of.is_dict()) {
    if (const Value* found = of.dict().find(key)) return *found;
  }
  const bool number = key.is_integer() || key.is_bool();
  if (number && (of.is_sequence() || of.is_text())) {
    const std::int64_t n = length(of);
    const std::int64_t at = key.integer() < 0 ? key.integer() + n : key.integer();
    if (at >= 0 && at < n) {
      if (of.is_sequence()) return of.sequence().items[static_cast<std::size_t>(at)];
      const std::string_view whole = of.text();
      budget_.step(whole.size() / 16);
      const std::size_t begin = byte_of_character(whole, static_cast<std::size_t>(at));
      return text(std::string(whole.substr(begin, next_character(whole, begin) - begin)));
    }
  }
  if (key.is_text()) {
    return of.is_dict() && !has_method(of, key.text())
               ? Value::undefined(fmt::format("expected dict with \"{}\", found none", key.text()))
               : attribute(of, key.text());
  }
  return Value::undefined(fmt::format("expected {} with item {}, found none",
                                      type_name(of),
                                      key.is_undefined() ? "undefined" : repr(key, budget_)));
}

}  // namespace headscope::jinja
