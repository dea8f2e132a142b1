# make install: program, header, both libraries, pkg-config, CMake package, the agents, experts and prices in
# the box, and what runs it as a service.
include(CMakePackageConfigHelpers)

if(TARGET muga)
    install(TARGETS muga RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
    install(FILES deploy/completion.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME muga)
    # The program writes its manual page itself; one for another machine can't be asked here.
    if(NOT CMAKE_CROSSCOMPILING AND NOT MUGA_SANITIZE)
        add_custom_command(TARGET muga POST_BUILD COMMAND $<TARGET_FILE:muga> help --man > ${PROJECT_BINARY_DIR}/muga.1)
        install(FILES ${PROJECT_BINARY_DIR}/muga.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
    endif()
endif()
install(TARGETS muga_static muga_shared
    ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES include/muga.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
foreach(folder agents experts prices)
    if(EXISTS ${PROJECT_SOURCE_DIR}/${folder})
        install(DIRECTORY ${folder} DESTINATION ${CMAKE_INSTALL_DATADIR}/muga USE_SOURCE_PERMISSIONS)
    endif()
endforeach()

# What runs it as a service (docs/service.md): the unit with the program's place, dashboard, alerts, manifests.
file(READ ${PROJECT_SOURCE_DIR}/deploy/muga.service MUGA_UNIT)
string(REPLACE "/usr/bin/muga" "${CMAKE_INSTALL_FULL_BINDIR}/muga" MUGA_UNIT "${MUGA_UNIT}")
file(WRITE ${PROJECT_BINARY_DIR}/muga.service "${MUGA_UNIT}")
install(FILES ${PROJECT_BINARY_DIR}/muga.service deploy/muga-command-tools.conf deploy/grafana.json
    deploy/alerts.yaml deploy/Containerfile DESTINATION ${CMAKE_INSTALL_DATADIR}/muga/deploy)
install(DIRECTORY deploy/kubernetes DESTINATION ${CMAKE_INSTALL_DATADIR}/muga/deploy)
install(FILES docs/schema/agent.schema.json docs/schema/serve.schema.json
    DESTINATION ${CMAKE_INSTALL_DATADIR}/muga/schema)

set(MUGA_PC_SECCOMP)
set(MUGA_CMAKE_SECCOMP)
if(SECCOMP_FOUND)
    set(MUGA_PC_SECCOMP " libseccomp")
    set(MUGA_CMAKE_SECCOMP "seccomp;")
endif()
# Folders as seen from where muga.pc lies: a tree may be installed or moved elsewhere than it was configured for.
set(MUGA_PC_PREFIX ${CMAKE_INSTALL_PREFIX})
set(MUGA_PC_LIBDIR ${CMAKE_INSTALL_FULL_LIBDIR})
set(MUGA_PC_INCLUDEDIR ${CMAKE_INSTALL_FULL_INCLUDEDIR})
if(NOT IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}" AND NOT IS_ABSOLUTE "${CMAKE_INSTALL_INCLUDEDIR}")
    file(RELATIVE_PATH up /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
    string(REGEX REPLACE "/$" "" up "${up}")
    set(MUGA_PC_PREFIX "\${pcfiledir}/${up}")
    set(MUGA_PC_LIBDIR "\${prefix}/${CMAKE_INSTALL_LIBDIR}")
    set(MUGA_PC_INCLUDEDIR "\${prefix}/${CMAKE_INSTALL_INCLUDEDIR}")
endif()
configure_file(cmake/muga.pc.in ${PROJECT_BINARY_DIR}/muga.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/muga.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

set(PACKAGE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/muga)
configure_package_config_file(cmake/mugaConfig.cmake.in ${PROJECT_BINARY_DIR}/mugaConfig.cmake
    INSTALL_DESTINATION ${PACKAGE_DIR} PATH_VARS CMAKE_INSTALL_INCLUDEDIR CMAKE_INSTALL_LIBDIR)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/mugaConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/mugaConfig.cmake ${PROJECT_BINARY_DIR}/mugaConfigVersion.cmake
    DESTINATION ${PACKAGE_DIR})
